//! Exports that go row by row.

use std::io::{BufWriter, Seek, Write};

use super::{Export, Role, Source, Writer, beside::Sample, files::Files};
use crate::{
    error::{Error, Result},
    formats::{
        exchange::{Entry, Number, Target, binary, lines, npz},
        vectors::Row,
    },
    io,
};

impl Writer<'_> {
    /// A vector's numbers, and what is counted of it.
    fn numbers<'t>(&mut self, row: &Row, plan: &'t Export) -> Result<Vec<(u32, &'t str, Number)>> {
        let mut terms = Vec::with_capacity(row.vector.nnz());
        for (term, weight) in row.vector.iter() {
            match plan.quantize.number(weight, self.extent) {
                Some(number) => terms.push((term.0, plan.token(term)?, number)),
                None => self.told.dropped += 1,
            }
        }
        self.told.most = self.told.most.max(row.vector.max_weight());
        self.told.rows += 1;
        self.told.postings += terms.len() as u64;
        self.told.empty += u64::from(terms.is_empty());
        if self.sample.is_none() && !row.vector.is_empty() {
            self.sample = Some(Sample::of(row, plan.language)?);
        }
        (self.each)();
        Ok(terms)
    }

    /// Row by row.
    pub(super) fn rows(&mut self, source: &Source, files: &mut Files) -> Result<()> {
        let plan = self.plan;
        let tokens = plan.language.tokenizer.vocabulary();
        match plan.target {
            Target::SeismicBinary => {
                let mut body = BufWriter::new(io::scratch()?);
                self.unnamed(source, files, |terms, weights| {
                    binary::write(&mut body, terms, weights)
                })?;
                let count = u32::try_from(self.told.rows).map_err(|_| {
                    let rows = self.told.rows;
                    Error::Usage(format!(
                        "seismic-bin: expected a count of rows in 32 bits, found {rows} rows"
                    ))
                })?;
                files.main()?.with(|out| {
                    out.write_all(&count.to_le_bytes())?;
                    let mut body =
                        body.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                    body.rewind()?;
                    std::io::copy(&mut body, out).map(drop)
                })
            }
            Target::Csr => {
                let mut matrix = npz::Writer::new(tokens.len(), io::scratch()?, io::scratch()?);
                self.unnamed(source, files, |terms, weights| matrix.row(terms, weights))?;
                files.main()?.with(|out| matrix.finish(out))
            }
            _ => source.each(tokens, plan.role, |row| self.line(row, files)),
        }
    }

    /// A row that is a line.
    fn line(&mut self, row: &Row, files: &mut Files) -> Result<()> {
        let (plan, target) = (self.plan, self.plan.target);
        let terms = self.numbers(row, plan)?;
        let (title, text) = (row.title.as_deref(), row.text.as_deref());
        let place = self.told.rows - 1;
        let entry = Entry { place, id: &row.id, title, text, terms: &terms };
        if plan.role == Role::Documents {
            return files.main()?.with(|out| lines::document(out, target, &plan.names, &entry));
        }
        if let Some(wrong) = lines::parts_a_query(target, &row.id) {
            let wanted =
                format!("expected ids of queries without {wrong:?}, which ends an id in {target}");
            return Err(Error::format("queries", format!("{wanted}, found {:?}", row.id)));
        }
        files.main()?.with(|out| lines::query(out, target, &plan.names, plan.k, &entry))
    }

    /// Rows whose ids stand in a file of their own.
    fn unnamed(
        &mut self,
        source: &Source,
        files: &mut Files,
        mut write: impl FnMut(&[u32], &[f32]) -> std::io::Result<()>,
    ) -> Result<()> {
        let plan = self.plan;
        let mut ids = files.begin("ids.txt")?;
        source.each(plan.language.tokenizer.vocabulary(), plan.role, |row| {
            let numbers = self.numbers(row, plan)?;
            let terms: Vec<u32> = numbers.iter().map(|&(term, _, _)| term).collect();
            let real = |number: Number| match number {
                Number::Real(weight) => weight,
                Number::Whole(level) => level as f32,
            };
            let weights: Vec<f32> = numbers.iter().map(|&(_, _, number)| real(number)).collect();
            write(&terms, &weights).map_err(|error| Error::io("temporary file", error))?;
            ids.line(&row.id)
        })?;
        files.take(ids);
        Ok(())
    }
}
