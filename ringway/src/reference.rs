//! What the binary tells about itself: schema, completions, manual pages, version.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::end::{Code, Ended, Failure, print};

/// `schema`
pub fn schema() -> Ended {
    print(&format!("{:#}\n", ringway_config::schema()))
}

/// `completions`
pub fn completions(shell: Shell) -> Ended {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// `man`
pub fn man(out: Option<&Path>) -> Ended {
    let command = Cli::command();
    match out {
        None => {
            let page = page(command).map_err(|error| unwritten(Path::new("the page"), &error))?;
            print(&String::from_utf8_lossy(&page))
        }
        Some(folder) => pages(command, folder),
    }
}

/// `version`
pub fn version() -> Ended {
    print(concat!("ringway ", env!("CARGO_PKG_VERSION"), "\n"))
}

/// `ringway.1`, `ringway-run.1`, ...
fn pages(command: Command, folder: &Path) -> Ended {
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
    let subcommands: Vec<Command> = command.get_subcommands().cloned().collect();
    for subcommand in subcommands {
        let name = format!("ringway-{}", subcommand.get_name());
        // clap wants names that live as long as the program; these few do.
        let subcommand = subcommand.display_name(name.clone()).name(&*name.leak());
        write_page(subcommand, folder)?;
    }
    write_page(command, folder)
}

fn write_page(command: Command, folder: &Path) -> Ended {
    let path = folder.join(format!("{}.1", command.get_name()));
    let written = page(command).and_then(|page| fs::write(&path, page));
    written.map_err(|error| unwritten(&path, &error))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Output, format!("cannot write {}: {error}", path.display()))
}
