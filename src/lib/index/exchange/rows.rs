//! Exports that go row by row.

use std::{
    io::{BufWriter, Seek, Write},
    path::Path,
};

use super::{Export, Role, Source, Writer, beside::Sample, with_ending};
use crate::{
    error::{Error, Result},
    formats::{
        exchange::{Entry, Number, Target, binary, lines, npz},
        vectors::Row,
    },
    io::{self, Output},
};

impl Writer<'_> {
    /// A vector's numbers, and what is counted of it.
    fn numbers<'t>(&mut self, row: &Row, plan: &'t Export) -> Result<Vec<(u32, &'t str, Number)>> {
        let mut terms = Vec::with_capacity(row.vector.nnz());
        for (term, weight) in row.vector.iter() {
            let number = match plan.quantize.level(weight, self.extent) {
                Some(level) => Number::Whole(level),
                None if plan.quantize.is_whole() => {
                    self.told.dropped += 1;
                    continue;
                }
                None => Number::Real(weight),
            };
            terms.push((term.0, plan.token(term)?, number));
        }
        self.told.rows += 1;
        self.told.postings += terms.len() as u64;
        self.told.empty += u64::from(terms.is_empty());
        if self.sample.is_none() && !row.vector.is_empty() {
            self.sample = Some(Sample::of(row, plan.language)?);
        }
        Ok(terms)
    }

    /// Row by row.
    pub(super) fn rows(&mut self, source: &Source, output: &Path) -> Result<()> {
        let plan = self.plan;
        let tokens = plan.language.tokenizer.vocabulary();
        let mut out = Output::create(output)?;
        let name = out.name().to_owned();
        let fail = |error| Error::io(&name, error);
        match plan.target {
            Target::SeismicBinary => {
                let mut body = BufWriter::new(io::scratch()?);
                self.unnamed(source, output, |terms, weights| {
                    binary::write(&mut body, terms, weights)
                })?;
                let count = u32::try_from(self.told.rows).map_err(|_| {
                    Error::Usage(format!(
                        "--to seismic-bin counts in 32 bits, got {} rows",
                        self.told.rows
                    ))
                })?;
                out.write_all(&count.to_le_bytes()).map_err(fail)?;
                let mut body = body.into_inner().map_err(|error| fail(error.into_error()))?;
                body.rewind().map_err(fail)?;
                std::io::copy(&mut body, &mut out).map_err(fail)?;
            }
            Target::Csr => {
                let mut matrix = npz::Writer::new(tokens.len(), io::scratch()?, io::scratch()?);
                self.unnamed(source, output, |terms, weights| matrix.row(terms, weights))?;
                matrix.finish(&mut out).map_err(fail)?;
            }
            target => source.each(tokens, plan.role, |row| {
                let terms = self.numbers(row, plan)?;
                let (title, text) = (row.title.as_deref(), row.text.as_deref());
                let place = self.told.rows - 1;
                let entry = Entry { place, id: &row.id, title, text, terms: &terms };
                let written = match plan.role {
                    Role::Documents => lines::document(&mut out, target, &plan.names, &entry),
                    Role::Queries => lines::query(&mut out, target, &plan.names, plan.k, &entry),
                };
                written.map_err(fail)
            })?,
        }
        out.commit()
    }

    /// Rows whose ids stand in a file of their own.
    fn unnamed(
        &mut self,
        source: &Source,
        output: &Path,
        mut write: impl FnMut(&[u32], &[f32]) -> std::io::Result<()>,
    ) -> Result<()> {
        let plan = self.plan;
        let path = with_ending(output, "ids.txt");
        let mut ids = Output::create(&path)?;
        source.each(plan.language.tokenizer.vocabulary(), plan.role, |row| {
            let numbers = self.numbers(row, plan)?;
            let terms: Vec<u32> = numbers.iter().map(|&(term, _, _)| term).collect();
            let real = |number: Number| match number {
                Number::Real(weight) => weight,
                Number::Whole(level) => level as f32,
            };
            let weights: Vec<f32> = numbers.iter().map(|&(_, _, number)| real(number)).collect();
            write(&terms, &weights).map_err(|error| Error::io(output, error))?;
            if row.id.contains(['\n', '\r']) {
                let wanted = "want ids without line breaks, which stand one a line";
                return Err(Error::format(&path, format!("{wanted}, got {:?}", row.id)));
            }
            writeln!(ids, "{}", row.id).map_err(|error| Error::io(&path, error))
        })?;
        ids.commit()?;
        self.told.beside.push(path.display().to_string());
        Ok(())
    }
}
