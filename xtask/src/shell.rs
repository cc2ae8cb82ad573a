//! Running other programs from the repository's root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A call of cargo, words split at spaces.
pub fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(root()).stdin(Stdio::null());
    command
}

/// Shows the command, runs it, and says whether it ended well.
pub fn run(command: &mut Command) -> bool {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("could not be started: {error}");
            false
        }
    }
}

/// What the command prints, or `None` (its complaint is passed through) when it fails.
pub fn output(command: &mut Command) -> Option<String> {
    println!("$ {}", shown(command));
    let output = command.stderr(Stdio::inherit()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// Whether a program answers `--version`.
pub fn installed(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        value.map(|value| format!("{}={:?}", name.to_string_lossy(), value.to_string_lossy()))
    });
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    set.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}
