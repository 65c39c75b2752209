//! Tables: rows of named texts, so that lists can grow columns without a new struct.

use crate::boundary::{c_text, free, text, value};
use crate::handle::{self, Kind, Object};
use host::Result;
use std::ffi::{CString, c_char};

/// Rows of texts in named columns. Immutable; may be used by several threads at once.
pub struct tenon_table {
    _opaque: [u8; 0],
}

/// A table in C's hands.
pub(crate) struct Rows {
    columns: Vec<CString>,
    cells: Vec<Vec<CString>>,
}

impl Object for Rows {
    const KIND: Kind = Kind::Table;
    type Handle = tenon_table;
}

impl Rows {
    /// A table of these columns; each row has a text for each of them.
    pub(crate) fn new<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Self {
        let cells = rows.into_iter().map(|row| row.iter().map(|cell| c_text(cell)).collect());
        Self { columns: columns.map(c_text).into(), cells: cells.collect() }
    }

    pub(crate) fn give_out(self) -> Result<*mut tenon_table> {
        handle::put(self)
    }
}

/// The number of rows; 0 for what is no table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_table_rows(table: *const tenon_table) -> usize {
    value(0, || Some(handle::get::<Rows>(table).ok()?.cells.len()))
}

/// The number of columns; 0 for what is no table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_table_columns(table: *const tenon_table) -> usize {
    value(0, || Some(handle::get::<Rows>(table).ok()?.columns.len()))
}

/// The name of a column, counted from 0; NULL when there is none. Valid until the table is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_table_column(table: *const tenon_table, column: usize) -> *const c_char {
    value(std::ptr::null(), || Some(handle::get::<Rows>(table).ok()?.columns.get(column)?.as_ptr()))
}

/// The text in a row, counted from 0, and a column by its name; "" where the row has nothing to say, NULL when there is
/// no such row or column. Valid until the table is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_table_get(
    table: *const tenon_table,
    row: usize,
    column: *const c_char,
) -> *const c_char {
    value(std::ptr::null(), || {
        let rows = handle::get::<Rows>(table).ok()?;
        // SAFETY: the header says that texts are NULL or NUL-terminated.
        let name = unsafe { text(column, "column") }.ok()?;
        let index = rows.columns.iter().position(|column| column.to_bytes() == name.as_bytes())?;
        Some(rows.cells.get(row)?.get(index)?.as_ptr())
    })
}

/// Frees a table. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_table_free(table: *mut tenon_table) {
    free::<Rows>(table, |_| {});
}
