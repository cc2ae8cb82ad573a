//! gRPC: a message from JSON by a descriptor set, and the framing of messages.

use std::path::Path;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

/// Bytes of a message's frame: a flag and a length.
const FRAME: usize = 5;
/// Of one message.
const MESSAGE_MAX: usize = 16 << 20;

/// The request of a method, framed: `data` is JSON, `set` a file of descriptors (`protoc --descriptor_set_out`, with
/// `--include_imports`), `path` is `/pkg.Service/Method`.
pub fn request(set: &Path, path: &str, data: &str) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(set).map_err(|error| format!("{}: {error}", set.display()))?;
    let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| {
        format!(
            "{}: not a descriptor set ({error}): make one with protoc --include_imports \
                 --descriptor_set_out=api.bin",
            set.display()
        )
    })?;
    let method = method(&pool, path)?;
    let mut json = serde_json::Deserializer::from_str(data);
    let message = DynamicMessage::deserialize(method.input(), &mut json)
        .and_then(|message| json.end().map(|()| message))
        .map_err(|error| format!("--data is no {}: {error}", method.input().full_name()))?;
    framed(&message.encode_to_vec())
}

fn method(pool: &DescriptorPool, path: &str) -> Result<MethodDescriptor, String> {
    let names = path.trim_start_matches('/').split_once('/');
    let Some((service, method)) = names.filter(|(service, method)| !service.is_empty() && !method.is_empty())
    else {
        return Err(format!("`{path}` is no gRPC method: the URL ends in /pkg.Service/Method"));
    };
    let Some(found) = pool.get_service_by_name(service) else {
        let known: Vec<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
        return Err(format!("no service `{service}` is described; there are: {}", known.join(", ")));
    };
    found.methods().find(|known| known.name() == method).ok_or_else(|| {
        let known: Vec<String> = found.methods().map(|method| method.name().to_owned()).collect();
        format!("`{service}` has no method `{method}`; there are: {}", known.join(", "))
    })
}

/// A message in its frame, not compressed.
pub fn framed(message: &[u8]) -> Result<Vec<u8>, String> {
    if message.len() > MESSAGE_MAX {
        return Err(format!("a message of {} bytes: at most {MESSAGE_MAX}", message.len()));
    }
    let mut bytes = Vec::with_capacity(FRAME + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    Ok(bytes)
}

/// Reads the frames of an answer's messages, only to see that they are whole.
#[derive(Debug, Default)]
pub struct Messages {
    frame: [u8; FRAME],
    seen: usize,
    left: usize,
}

/// The framing is broken, or a message longer than is taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Messages {
    /// Reads on.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.frame[self.seen] = bytes[0];
            self.seen += 1;
            bytes = &bytes[1..];
            if self.seen == FRAME {
                self.seen = 0;
                let [flag, length @ ..] = self.frame;
                self.left = u32::from_be_bytes(length) as usize;
                if flag > 1 || self.left > MESSAGE_MAX {
                    return Err(Broken);
                }
            }
        }
        Ok(())
    }

    /// Whether no message is cut off.
    pub fn whole(&self) -> bool {
        self.left == 0 && self.seen == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_or_not_however_they_are_cut() {
        let bytes = [framed(b"hello").unwrap(), framed(b"").unwrap(), framed(b"x").unwrap()].concat();
        for step in 1..bytes.len() {
            let mut messages = Messages::default();
            bytes.chunks(step).for_each(|piece| messages.read(piece).unwrap());
            assert!(messages.whole());
            messages.read(&bytes[..3]).unwrap();
            assert!(!messages.whole());
        }
        assert_eq!(Messages::default().read(&[2, 0, 0, 0, 0]), Err(Broken));
        assert_eq!(Messages::default().read(&[0, 255, 0, 0, 0]), Err(Broken));
    }
}
