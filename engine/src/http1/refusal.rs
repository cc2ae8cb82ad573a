//! Every way a message can be refused, with what is logged, counted and told.
//!
//! A variant is one rule. The reason is the name of the rule for machines (access log, metrics, problem document) and
//! never changes; the status is what a client gets when its request broke it. A response that breaks a rule is the
//! caller's 502, with the same reason.

macro_rules! refusals {
    ($($name:ident, $status:literal, $reason:literal, $detail:literal;)*) => {
        /// Why a message was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $(#[doc = $detail] $name,)*
        }

        impl Refusal {
            /// Every refusal, for metrics that want their names up front.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];

            /// The rule's name: snake_case, stable.
            pub const fn reason(self) -> &'static str {
                match self { $(Refusal::$name => $reason,)* }
            }

            /// The status for a client whose request broke the rule.
            pub const fn status(self) -> u16 {
                match self { $(Refusal::$name => $status,)* }
            }

            /// One sentence for a person, with the section of the RFC.
            pub const fn detail(self) -> &'static str {
                match self { $(Refusal::$name => $detail,)* }
            }
        }
    };
}

refusals! {
    BadRequestLine, 400, "bad_request_line", "The request line is not method, target and version with one space between (RFC 9112 §3).";
    BadMethod, 400, "bad_method", "The method is not a token (RFC 9110 §9.1).";
    MethodTooLong, 501, "method_too_long", "The method is longer than any known (RFC 9112 §3).";
    BadTarget, 400, "bad_target", "The request target has none of the four forms its method allows (RFC 9112 §3.2).";
    ControlInTarget, 400, "control_in_target", "The request target holds a control character (RFC 9112 §3.2).";
    EightBitTarget, 400, "eight_bit_target", "The request target holds bytes beyond ASCII that are not percent-encoded (RFC 9112 §3.2).";
    TargetTooLong, 414, "target_too_long", "The request target is longer than allowed (RFC 9110 §15.5.15).";
    BadVersion, 400, "bad_version", "The protocol version is malformed (RFC 9112 §2.3).";
    VersionNotSupported, 505, "version_not_supported", "Only HTTP/1.0 and HTTP/1.1 are spoken here (RFC 9110 §15.6.6).";
    BadStatusLine, 400, "bad_status_line", "The status line is malformed (RFC 9112 §4).";
    BadStatus, 400, "bad_status", "The status code is not between 100 and 599 (RFC 9110 §15).";
    EmptyLines, 400, "empty_lines", "More than one empty line came before the message (RFC 9112 §2.2).";
    BareLf, 400, "bare_lf", "A line ends in LF without CR (RFC 9112 §2.2).";
    BareCr, 400, "bare_cr", "A CR is not followed by LF (RFC 9112 §2.2).";
    ObsFold, 400, "obs_fold", "A header line begins with white space (RFC 9112 §5.2).";
    SpaceBeforeColon, 400, "space_before_colon", "White space stands between a field name and its colon (RFC 9112 §5.1).";
    BadFieldName, 400, "bad_field_name", "A field name is not a token followed by a colon (RFC 9110 §5.1).";
    ControlInName, 400, "control_in_name", "A field name holds NUL or another control character (RFC 9110 §5.1).";
    ControlInValue, 400, "control_in_value", "A field value holds NUL or another control character (RFC 9110 §5.5).";
    HeadTooLarge, 431, "header_too_large", "The message's head is larger than allowed (RFC 6585 §5).";
    TooManyFields, 431, "too_many_headers", "The message has more header fields than allowed (RFC 6585 §5).";
    MissingHost, 400, "missing_host", "An HTTP/1.1 request has no Host (RFC 9112 §3.2).";
    RepeatedHost, 400, "repeated_host", "Host is given more than once (RFC 9112 §3.2).";
    BadHost, 400, "bad_host", "The authority is not a host with an optional port (RFC 9110 §7.2).";
    AuthorityDiffers, 400, "authority_differs", "The target's authority differs from Host (RFC 9112 §3.2.2).";
    BothLengthAndChunked, 400, "both_length_and_chunked", "Both Content-Length and Transfer-Encoding are given (RFC 9112 §6.3).";
    BadContentLength, 400, "bad_content_length", "Content-Length is not one decimal number (RFC 9112 §6.3).";
    RepeatedContentLength, 400, "repeated_content_length", "Content-Length is given more than once (RFC 9112 §6.3).";
    BadTransferEncoding, 400, "bad_transfer_encoding", "Transfer-Encoding does not end in exactly one chunked (RFC 9112 §6.3).";
    RepeatedTransferEncoding, 400, "repeated_transfer_encoding", "Transfer-Encoding is given more than once (RFC 9112 §6.1).";
    TransferEncodingOnHttp10, 400, "transfer_encoding_on_http10", "Transfer-Encoding is not part of HTTP/1.0 (RFC 9112 §6.1).";
    TransferCodingNotSupported, 501, "transfer_coding_not_supported", "No transfer coding but chunked is spoken here (RFC 9112 §6.1).";
    FramingForbidden, 400, "framing_forbidden", "A message that cannot have a body announces one (RFC 9112 §6.1).";
    FramingLookalike, 400, "framing_lookalike", "A field name only looks like Content-Length or Transfer-Encoding (RFC 9112 §11.2).";
    BadConnection, 400, "bad_connection", "Connection is not a list of tokens, or too long a one (RFC 9110 §7.6.1).";
    BadMaxForwards, 400, "bad_max_forwards", "Max-Forwards is not one decimal number (RFC 9110 §7.6.2).";
    ExpectationFailed, 417, "expectation_failed", "Expect asks for something other than 100-continue (RFC 9110 §10.1.1).";
    BadChunkSize, 400, "bad_chunk_size", "A chunk size is not one to sixteen hexadecimal digits (RFC 9112 §7.1).";
    BadChunkExtension, 400, "bad_chunk_extension", "A chunk extension is malformed (RFC 9112 §7.1.1).";
    ChunkExtensionFlood, 400, "chunk_extension_flood", "The body's chunk extensions are longer than allowed (RFC 9112 §7.1.1).";
    BadChunkEnd, 400, "bad_chunk_end", "A chunk's data is not followed by CRLF (RFC 9112 §7.1).";
    TrailersTooLarge, 431, "trailers_too_large", "The trailers are larger or more than allowed (RFC 9112 §7.1.2).";
    BodyTooLarge, 413, "body_too_large", "The body is larger than allowed (RFC 9110 §15.5.14).";
    HeadTimeout, 408, "head_timeout", "The request's head did not arrive in time (RFC 9110 §15.5.9).";
    Malformed, 400, "malformed", "The message is malformed (RFC 9112 §2.2).";
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn reasons_are_distinct_snake_case_and_details_name_their_source() {
        for (place, refusal) in Refusal::ALL.iter().enumerate() {
            let reason = refusal.reason();
            assert!(
                reason.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{reason}"
            );
            assert!(
                Refusal::ALL.iter().skip(place + 1).all(|other| other.reason() != reason),
                "{reason} twice"
            );
            assert!(refusal.detail().contains("(RFC "), "{reason}");
            assert!(matches!(refusal.status(), 400 | 408 | 413 | 414 | 417 | 431 | 501 | 505), "{reason}");
        }
    }
}
