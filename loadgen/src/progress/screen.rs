//! The dashboard on a terminal: a block of lines that is written over in place.
//!
//! ratatui's own inline view asks the terminal where the cursor is, which takes raw mode and an answer read as if it
//! were keys. Here lines are written one below the other and the next frame goes back up by as many: the cursor always
//! stands below the block, and there is nothing to restore.

use std::io::Write;

use crossterm::cursor::MoveUp;
use crossterm::queue;
use crossterm::style::{Print, PrintStyledContent, StyledContent};
use crossterm::terminal::{Clear, ClearType};
use ratatui::backend::IntoCrossterm;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::board::{Board, HEIGHT};
use super::{Output, Size, Tick};

/// A dashboard on a terminal.
pub struct Screen {
    out: Output,
    size: Size,
    board: Board,
    /// The size at which the frame above the cursor was written.
    drawn: Option<(u16, u16)>,
}

impl Screen {
    pub(super) fn new(out: Output, size: Size) -> Screen {
        Screen { out, size, board: Board::default(), drawn: None }
    }

    pub(super) fn tick(&mut self, tick: &Tick) {
        self.board.add(tick);
        let size = (self.size)();
        if !fits(size) {
            return;
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, (size.0 - 1).min(COLUMNS_MAX), HEIGHT));
        self.board.render(buffer.area, &mut buffer);
        // After a change of size lines may stand anywhere: then a new block begins below the old one.
        let over = self.drawn.replace(size) == Some(size);
        // In one write, so that no half of a frame shows. That it can't be shown is no reason to end a run.
        let _ = frame(&buffer, over).and_then(|bytes| {
            self.out.write_all(&bytes)?;
            self.out.flush()
        });
    }
}

/// Whether a terminal of so many columns and rows has room.
pub(super) fn fits((columns, rows): (u16, u16)) -> bool {
    columns >= COLUMNS_MIN && rows > HEIGHT
}

fn frame(buffer: &Buffer, over: bool) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if over {
        queue!(out, Print("\r"), MoveUp(buffer.area.height))?;
    }
    for row in buffer.content.chunks(usize::from(buffer.area.width)) {
        for run in row.chunk_by(|a, b| a.style() == b.style()) {
            let text: String = run.iter().map(|cell| cell.symbol()).collect();
            queue!(out, PrintStyledContent(StyledContent::new(run[0].style().into_crossterm(), text)))?;
        }
        queue!(out, Clear(ClearType::UntilNewLine))?;
        out.write_all(b"\r\n")?;
    }
    Ok(out)
}

const COLUMNS_MIN: u16 = 60;
const COLUMNS_MAX: u16 = 100;
