//! wip
use crate::{cli, end::Ended};
pub fn explain(_a: &cli::Explain) -> Ended {
    Ok(())
}
