//! What other engines take and give: JSON lines, CIFF, PISA.

pub mod exchange;
