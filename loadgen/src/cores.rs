//! Cores to pin threads to, as a person lists them: `1-3,5`.

use std::str::FromStr;

/// Cores at most.
const CORES_MAX: usize = 1024;

/// Numbers of cores, in the order written, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        let form = || format!("`{text}` is no list of cores: write numbers and ranges, such as 1-3,5");
        let mut cores = Vec::new();
        for part in text.split(',') {
            let number = |text: &str| text.trim().parse::<u16>().map(usize::from).map_err(|_| form());
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(form());
            }
            for core in first..=last {
                if cores.len() == CORES_MAX {
                    return Err(format!("`{text}`: at most {CORES_MAX} cores"));
                }
                if !cores.contains(&core) {
                    cores.push(core);
                }
            }
        }
        Ok(Cores(cores))
    }
}

impl Cores {
    /// The cores, if this thread may use every one of them.
    pub fn usable(&self) -> Result<Vec<usize>, String> {
        let usable = ringway_runtime::usable_cpus();
        match self.0.iter().find(|core| !usable.contains(core)) {
            None => Ok(self.0.clone()),
            Some(core) => Err(format!("--cores: core {core} can't be used; these can: {usable:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_numbers_and_ranges() {
        assert_eq!("1-3, 0,2".parse(), Ok(Cores(vec![1, 2, 3, 0])));
        for bad in ["", "a", "3-1", "1-", "0-65536", "-1"] {
            assert!(bad.parse::<Cores>().unwrap_err().contains("1-3,5"), "{bad}");
        }
        assert!("0-65535".parse::<Cores>().unwrap_err().contains("at most 1024"));
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        assert!("0,60000".parse::<Cores>().unwrap().usable().unwrap_err().contains("core 60000"));
    }
}
