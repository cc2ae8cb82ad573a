//! `--write`: a change of the configuration file, which a running gateway reloads by itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use ringway_config::edit::{Edit, edit};

use crate::cli::ctl::At;
use crate::end::{Code, Ended, Failure, print};

/// Makes a change of one route in the file, or leaves it as it is.
pub fn write(at: &At, route: &str, change: &Edit) -> Ended {
    let Some(path) = &at.config else {
        let message = "--write changes the configuration file: say which with -c FILE";
        return Err(Failure::new(Code::Usage, message));
    };
    let unread = |error: &io::Error| Failure::new(Code::Config, format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| unread(&error))?;
    let name = path.display().to_string();
    let edited = edit(&name, &text, &|name| std::env::var(name).ok(), route, change);
    let edited = edited.map_err(|why| Failure::new(Code::Data, format!("{name} stays as it is: {why}")))?;
    if edited == text {
        return print(&format!("{name} says so already\n"));
    }
    replace(path, &edited)
        .map_err(|error| Failure::new(Code::Output, format!("{name} can't be written: {error}")))?;
    print(&format!("{name} is changed; a running gateway reloads it by itself\n"))
}

/// Puts a whole new file in the place of the old one, with its mode; a link stays one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let next = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = File::create_new(&next)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &path)
    })();
    written.inspect_err(|_| {
        let _ = fs::remove_file(&next);
    })
}
