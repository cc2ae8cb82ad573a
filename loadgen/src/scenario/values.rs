//! Variables: rows of a CSV file, or a range of numbers, one row for each request.

use std::path::Path;

use super::mixed;

/// Rows of a CSV file at most.
const ROWS_MAX: usize = 1_000_000;
/// Bytes of a CSV file at most.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// All variables of a scenario.
#[derive(Debug, Default)]
pub struct Variables {
    all: Vec<Variable>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    columns: Vec<String>,
    rows: Rows,
    random: bool,
}

#[derive(Debug)]
enum Rows {
    Table(Vec<csv::ByteRecord>),
    Range { from: i64, count: u64 },
}

impl Variables {
    /// Adds the rows of a CSV file, whose first row names the columns.
    pub fn add_csv(&mut self, name: &str, file: &Path, random: bool) -> Result<(), String> {
        let shown = file.display();
        let size = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("{shown}: larger than {} MiB", FILE_BYTES_MAX >> 20));
        }
        let mut reader = csv::Reader::from_path(file).map_err(|error| format!("{shown}: {error}"))?;
        let columns = reader.headers().map_err(|error| format!("{shown}: {error}"))?;
        let columns: Vec<String> = columns.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for row in reader.into_byte_records() {
            rows.push(row.map_err(|error| format!("{shown}: {error}"))?);
            if rows.len() > ROWS_MAX {
                return Err(format!("{shown}: more than {ROWS_MAX} rows"));
            }
        }
        if rows.is_empty() {
            return Err(format!("{shown}: there is no row below the first, which names the columns"));
        }
        self.all.push(Variable { name: name.to_owned(), columns, rows: Rows::Table(rows), random });
        Ok(())
    }

    /// Adds the whole numbers from `from` to `to`.
    pub fn add_range(&mut self, name: &str, from: i64, to: i64, random: bool) -> Result<(), String> {
        if to < from {
            return Err(format!("a range goes from the smaller to the larger number, not {from} to {to}"));
        }
        let rows = Rows::Range { from, count: to.abs_diff(from).saturating_add(1) };
        self.all.push(Variable { name: name.to_owned(), columns: Vec::new(), rows, random });
        Ok(())
    }

    /// Variable and column that `name` (`users.id`, or `n`) stands for.
    pub fn find(&self, name: &str) -> Result<(usize, usize), String> {
        let (variable, column) =
            name.split_once('.').map_or((name, None), |(name, column)| (name, Some(column)));
        let Some(at) = self.all.iter().position(|known| known.name == variable) else {
            let known: Vec<&str> = self.all.iter().map(|known| known.name.as_str()).collect();
            return Err(match known.as_slice() {
                [] => format!("`${{{name}}}`: no variables are declared (a literal is written `$${{`)"),
                known => format!("`${{{name}}}`: no such variable; there are: {}", known.join(", ")),
            });
        };
        let columns = &self.all[at].columns;
        match column {
            None if columns.is_empty() => Ok((at, 0)),
            Some(column) if columns.is_empty() => {
                Err(format!("`{variable}` is a range and has no column `{column}`"))
            }
            None => Err(format!(
                "`${{{name}}}` needs a column: {variable}.{}",
                columns.join(&format!(", {variable}."))
            )),
            Some(column) => match columns.iter().position(|known| known == column) {
                Some(found) => Ok((at, found)),
                None => Err(format!("`{variable}` has no column `{column}`; it has: {}", columns.join(", "))),
            },
        }
    }

    /// The first value of a column that may not stand in a header: one with a control character.
    pub fn unfit_for_headers(&self, variable: usize, column: usize) -> Option<String> {
        let Rows::Table(rows) = &self.all[variable].rows else { return None };
        let mut values = rows.iter().filter_map(|row| row.get(column));
        let unfit = |value: &&[u8]| {
            value.iter().any(|byte| byte.is_ascii_control()) || std::str::from_utf8(value).is_err()
        };
        values.find(unfit).map(|value| String::from_utf8_lossy(value).escape_debug().to_string())
    }

    /// The values of request number `index`.
    pub fn of(&self, seed: u64, index: u64) -> Values<'_> {
        Values { variables: self, seed, index }
    }
}

/// One request's values: of one variable all columns are from the same row.
pub struct Values<'a> {
    variables: &'a Variables,
    seed: u64,
    index: u64,
}

impl Values<'_> {
    /// Hands the value to `to`.
    pub fn write(&self, variable: usize, column: usize, to: impl FnOnce(&[u8])) {
        let known = &self.variables.all[variable];
        let count = match &known.rows {
            Rows::Table(rows) => rows.len() as u64,
            Rows::Range { count, .. } => *count,
        };
        let place = if known.random { mixed(self.seed, self.index, variable as u64 + 1) } else { self.index };
        let row = place % count.max(1);
        match &known.rows {
            Rows::Table(rows) => to(rows[row as usize].get(column).unwrap_or_default()),
            Rows::Range { from, .. } => to(from.wrapping_add_unsigned(row).to_string().as_bytes()),
        }
    }
}
