//! How a command ends: what is printed, and the exit code.
//!
//! Codes are those of sysexits.h where it has one that fits. Wrong usage is 2, which clap exits with by itself.

use std::io::{self, Write};
use std::process::ExitCode;

/// What a command returns.
pub type Ended = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What is wrong and what to do about it, for stderr; several lines. Empty: it was said already.
    pub message: String,
}

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A check of the demo's failed, or what runs is not what the file says.
    CheckFailed = 1,
    /// An argument doesn't say what it should.
    Usage = 2,
    /// EX_DATAERR: what is named is not there, or can't be changed as things are.
    Data = 65,
    /// EX_UNAVAILABLE: an address is taken, or nothing listens there.
    Unavailable = 69,
    /// EX_OSERR: the system refused a thread, a socket, a signal.
    System = 71,
    /// EX_IOERR: output could not be written.
    Output = 74,
    /// EX_PROTOCOL: what answers is not what was asked for.
    Protocol = 76,
    /// EX_NOPERM: changes are not allowed.
    Forbidden = 77,
    /// EX_CONFIG: the configuration has errors or can't be read.
    Config = 78,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// The system refused `what`.
    pub fn system(what: &str, error: &io::Error) -> Failure {
        Failure::new(Code::System, format!("{what}: {error}"))
    }
}

/// Tells of a failure and makes the exit code.
pub fn exit_code(ended: Ended) -> ExitCode {
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    if !failure.message.is_empty() {
        let message = failure.message.trim_end();
        let _ = writeln!(io::stderr().lock(), "ringway: {message}");
    }
    ExitCode::from(failure.code as u8)
}

/// Prints what the user asked for. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> Ended {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Output, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints to stderr what comes beside it, as it stands.
pub fn remark(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
