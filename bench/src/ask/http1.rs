//! A request of HTTP/1.1 whose answer says how long it is.

use std::io::Result;

use super::{Wire, wrong};
use crate::identity::NAME;

/// The body of a 200.
pub fn get(stream: &mut impl Wire, path: &str) -> Result<Vec<u8>> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes())?;
    stream.flush()?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        if let Some((start, length)) = extent(&answer)?
            && answer.len() >= start + length
        {
            return Ok(answer.split_off(start));
        }
        match stream.read(&mut piece)? {
            0 => return Err(wrong("closed within the answer")),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
}

/// Where the body begins and how long it is; none before the head is whole.
fn extent(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return Err(wrong(format!("it answered {}", head.lines().next().unwrap_or_default())));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.map(|length| Some((end + 4, length))).ok_or_else(|| wrong("its answer says no length"))
}

#[cfg(test)]
mod tests {
    use super::extent;

    #[test]
    fn an_answers_extent_is_known_when_its_head_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(extent(&answer[..20]).unwrap(), None);
        assert_eq!(extent(answer).unwrap(), Some((38, 5)));
        assert!(extent(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n").is_err());
        assert!(extent(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
