//! What the variables of a scenario stand for: rows of CSV files and ranges of numbers.
//!
//! Invariant: a [`Column`] was given out by the same [`Variables`] and exists in it. The row a variable has in a request
//! follows from seed and index, so it is looked up anew for each value and still is the same for all of a request.

use super::hash;
use super::text::header_byte;

/// All variables of a scenario.
#[derive(Debug, Default)]
pub(super) struct Variables(Vec<Variable>);

#[derive(Debug)]
pub(super) struct Variable {
    pub name: String,
    pub order: Order,
    pub source: Source,
}

/// Which row comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The row of the request's index; from the first again after the last.
    Sequential,
    /// Any, each as likely, also more than once.
    Random,
}

#[derive(Debug)]
pub(super) enum Source {
    Table(Table),
    /// From the first to the last, both included.
    Range(u64, u64),
    /// It had a problem. So has its scenario, then; that the variable is used is not one more.
    Unread,
}

/// A value's place: variable and column (0 in a range).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    variable: u32,
    column: u32,
}

/// The values of one request.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    variables: &'a Variables,
    seed: u64,
    index: u64,
}

impl Values<'_> {
    /// Hands over the value of a column.
    pub(super) fn with<T>(&self, column: Column, take: impl FnOnce(&[u8]) -> T) -> T {
        let variable = &self.variables.0[column.variable as usize];
        let row = variable.row(self.seed, self.index, u64::from(column.variable));
        match &variable.source {
            Source::Table(table) => take(table.cell(row as usize, column.column as usize)),
            Source::Range(first, _) => {
                let mut digits = [0; 20];
                take(decimal(first + row, &mut digits))
            }
            Source::Unread => take(b""),
        }
    }
}

impl Variables {
    pub(super) fn add(&mut self, variable: Variable) {
        self.0.push(variable);
    }

    pub(super) fn values(&self, seed: u64, index: u64) -> Values<'_> {
        Values { variables: self, seed, index }
    }

    /// Finds `name` or `name.column`; the error says what there is.
    pub(super) fn column(&self, text: &str) -> Result<Column, String> {
        let (name, column) = text.split_once('.').map_or((text, None), |(name, column)| (name, Some(column)));
        let Some(variable) = self.0.iter().position(|variable| variable.name == name) else {
            let known = listed(self.0.iter().map(|variable| variable.name.as_str()));
            return Err(format!("there is no variable `{name}`; {known}"));
        };
        let column = match (&self.0[variable].source, column) {
            (Source::Range(..), None) | (Source::Unread, _) => 0,
            (Source::Range(..), Some(_)) => return Err(format!("`{name}` is a range: write ${{{name}}}")),
            (Source::Table(table), column) => {
                let known = || listed(table.columns.iter().map(String::as_str));
                let column = column.ok_or_else(|| {
                    format!(
                        "`{name}` is a CSV file: write ${{{name}.COLUMN}} with one of its columns; {}",
                        known()
                    )
                })?;
                table
                    .columns
                    .iter()
                    .position(|known| known == column)
                    .ok_or_else(|| format!("`{name}` has no column `{column}`; {}", known()))?
            }
        };
        Ok(Column { variable: variable as u32, column: column as u32 })
    }

    /// Bytes of the column's longest value.
    pub(super) fn longest(&self, column: Column) -> u64 {
        match &self.0[column.variable as usize].source {
            Source::Table(table) => u64::from(table.longest[column.column as usize]),
            Source::Range(_, last) => decimal(*last, &mut [0; 20]).len() as u64,
            Source::Unread => 0,
        }
    }

    /// The line of the file with the column's first value that can't stand in a header.
    pub(super) fn not_for_headers(&self, column: Column) -> Option<u64> {
        match &self.0[column.variable as usize].source {
            Source::Table(table) => table.not_for_headers[column.column as usize],
            Source::Range(..) | Source::Unread => None,
        }
    }
}

impl Variable {
    fn row(&self, seed: u64, index: u64, stream: u64) -> u64 {
        let rows = match &self.source {
            Source::Table(table) => table.rows as u64,
            Source::Range(first, last) => last - first + 1,
            Source::Unread => 1,
        };
        match self.order {
            Order::Sequential => index % rows,
            Order::Random => ((u128::from(hash(seed, index, stream)) * u128::from(rows)) >> 64) as u64,
        }
    }
}

/// A CSV file: its first row names the columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<String>,
    /// Never 0.
    rows: usize,
    /// All values, row by row.
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<u32>,
    longest: Vec<u32>,
    not_for_headers: Vec<Option<u64>>,
}

impl Table {
    pub(super) fn read(text: &[u8]) -> Result<Table, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(text);
        let header = reader.headers().map_err(|error| csv_error(&error))?;
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        check_columns(&columns)?;
        let mut table = Table {
            rows: 0,
            bytes: Vec::new(),
            ends: Vec::new(),
            longest: vec![0; columns.len()],
            not_for_headers: vec![None; columns.len()],
            columns,
        };
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| csv_error(&error))? {
            let line = record.position().map_or(0, csv::Position::line);
            table.add(&record, line)?;
        }
        if table.rows == 0 {
            return Err("it has no rows below the names of its columns: add at least one".to_owned());
        }
        Ok(table)
    }

    fn add(&mut self, record: &csv::ByteRecord, line: u64) -> Result<(), String> {
        self.rows += 1;
        if self.rows > ROWS_MAX || self.rows * self.columns.len() > CELLS_MAX {
            return Err(format!(
                "line {line}: at most {ROWS_MAX} rows and {CELLS_MAX} values are read from a file"
            ));
        }
        for (column, cell) in record.iter().enumerate() {
            self.bytes.extend_from_slice(cell);
            let end = u32::try_from(self.bytes.len()).map_err(|_| "it has more than 4 GiB".to_owned())?;
            self.ends.push(end);
            self.longest[column] = self.longest[column].max(cell.len() as u32);
            if self.not_for_headers[column].is_none() && !cell.iter().all(header_byte) {
                self.not_for_headers[column] = Some(line);
            }
        }
        Ok(())
    }

    fn cell(&self, row: usize, column: usize) -> &[u8] {
        let at = row * self.columns.len() + column;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[begin as usize..self.ends[at] as usize]
    }
}

fn check_columns(columns: &[String]) -> Result<(), String> {
    if columns.is_empty() {
        return Err("it is empty: its first row names the columns".to_owned());
    }
    if columns.len() > COLUMNS_MAX {
        return Err(format!("it has {} columns: at most {COLUMNS_MAX} are read", columns.len()));
    }
    for (at, name) in columns.iter().enumerate() {
        if name.is_empty() || name.contains('}') {
            return Err(format!(
                "column {} has no name that can be used: its first row names the columns",
                at + 1
            ));
        }
        if columns[..at].contains(name) {
            return Err(format!("two columns are called `{}`: give one another name", name.escape_debug()));
        }
    }
    Ok(())
}

fn csv_error(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line}: {len} values where the first row names {expected_len} columns")
        }
        csv::ErrorKind::Utf8 { .. } => "the names of its columns are not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// `known are a, b, c`, of which there may be many.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> =
        names.take(LISTED_MAX + 1).map(|name| name.escape_debug().to_string()).collect();
    match names.len() {
        0 => return "none are known".to_owned(),
        count if count > LISTED_MAX => names[LISTED_MAX] = "...".to_owned(),
        _ => {}
    }
    format!("known are {}", names.join(", "))
}

/// The digits of a number, without an allocation.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Rows of a CSV file.
pub(super) const ROWS_MAX: usize = 1_000_000;
/// Columns of a CSV file.
const COLUMNS_MAX: usize = 1000;
/// Values of a CSV file: each costs four bytes beside its own.
const CELLS_MAX: usize = 16_000_000;
/// Names told in an error.
const LISTED_MAX: usize = 10;
