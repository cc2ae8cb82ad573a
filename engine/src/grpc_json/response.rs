//! A call's answer as JSON, as it arrives.

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::{Options, Problem};

/// How an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One document.
    Document,
    /// A line of JSON for each message.
    Lines,
    /// An event for each message.
    Events,
}

impl Mode {
    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Mode::Document => "application/json",
            Mode::Lines => "application/x-ndjson",
            Mode::Events => "text/event-stream",
        }
    }
}

/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Before each message: a flag and its length.
const PREFIX: usize = 5;

/// An answer under way.
#[derive(Debug)]
pub struct Response {
    mode: Mode,
    output: MessageDescriptor,
    body: Option<FieldDescriptor>,
    options: Options,
    pool: DescriptorPool,
    /// Of a message that is not whole.
    held: Vec<u8>,
    messages: u64,
}

impl Response {
    pub(super) fn new(
        mode: Mode,
        output: MessageDescriptor,
        body: Option<FieldDescriptor>,
        options: Options,
        pool: DescriptorPool,
    ) -> Response {
        Response { mode, output, body, options, pool, held: Vec::new(), messages: 0 }
    }

    /// How it is told.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes bytes as they came, however cut, and writes what they make whole.
    ///
    /// # Errors
    /// They are no messages.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some([flag, a, b, c, d]) =
            self.held.get(at..at + PREFIX).and_then(|head| head.first_chunk().copied())
        {
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if flag != 0 {
                return Err(Problem::internal("the service compresses its messages, which nobody asked for"));
            }
            if len > MESSAGE_BYTES_MAX {
                return Err(Problem::internal(format!(
                    "a message is larger than {} MiB",
                    MESSAGE_BYTES_MAX >> 20
                )));
            }
            let Some(message) = self.held.get(at + PREFIX..at + PREFIX + len) else { break };
            if self.mode == Mode::Document && self.messages > 0 {
                return Err(Problem::internal("the service answers with more than one message"));
            }
            self.messages += 1;
            self.put(message, out)?;
            at += PREFIX + len;
        }
        self.held.drain(..at);
        Ok(())
    }

    fn put(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
        let message = DynamicMessage::decode(self.output.clone(), message)
            .map_err(|error| Problem::internal(format!("a message can't be read: {error}")))?;
        let options = SerializeOptions::new()
            .skip_default_fields(!self.options.print_defaults && self.body.is_none())
            .use_proto_field_name(self.options.proto_names);
        let mut value = message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|error| Problem::internal(format!("a message can't be told in JSON: {error}")))?;
        if let (Some(field), Value::Object(object)) = (&self.body, &mut value) {
            let name = if self.options.proto_names { field.name() } else { field.json_name() };
            value = object.remove(name).unwrap_or(Value::Null);
        }
        self.put_value(&value, None, out);
        Ok(())
    }

    fn put_value(&self, value: &Value, event: Option<&str>, out: &mut Vec<u8>) {
        let text = value.to_string();
        match self.mode {
            Mode::Document => out.extend(text.into_bytes()),
            Mode::Lines => {
                out.extend(text.into_bytes());
                out.push(b'\n');
            }
            Mode::Events => {
                if let Some(event) = event {
                    out.extend_from_slice(format!("event: {event}\n").as_bytes());
                }
                out.extend_from_slice(format!("data: {text}\n\n").as_bytes());
            }
        }
    }

    /// The end of a stream: what went wrong is its last message. A document's problem is an answer of its own.
    pub fn finish(&mut self, problem: Option<&Problem>, out: &mut Vec<u8>) {
        if let Some(problem) = problem
            && self.mode != Mode::Document
        {
            self.put_value(&serde_json::json!({ "error": problem.to_json() }), Some("error"), out);
        }
    }

    /// What the call ended with; `None`: well, and whole.
    pub fn ended(
        &self,
        status: Option<&[u8]>,
        message: Option<&[u8]>,
        details: Option<&[u8]>,
    ) -> Option<Problem> {
        let problem = Problem::of_call(status, message, details, &self.pool);
        let cut = || Problem::internal("the service ended its answer within a message");
        let none = || Problem::internal("the service ended its answer without a message");
        match (&problem, self.mode) {
            (Some(_), _) => problem,
            (None, _) if !self.held.is_empty() => Some(cut()),
            (None, Mode::Document) if self.messages == 0 => Some(none()),
            (None, _) => None,
        }
    }
}
