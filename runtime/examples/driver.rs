//! Prints the driver that a worker would run on here: `cargo run -p ringway-runtime --example driver`.

use ringway_runtime::{Options, Runtime};

fn main() -> std::io::Result<()> {
    let runtime = Runtime::new(&Options::default(), std::sync::Arc::default())?;
    let picked = runtime.picked();
    match &picked.refused {
        None => println!("{}", picked.driver),
        Some(why) => println!("{} ({why})", picked.driver),
    }
    Ok(())
}
