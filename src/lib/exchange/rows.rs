//! Exports that go row by row.

use super::{Entry, Export, Number, Role, Source, Writer, files::Files, lines, sidecar::Sample};
use crate::{
    error::{Error, Result},
    vectors::Row,
};

impl Writer<'_> {
    /// A vector's numbers, and what is counted of it.
    fn numbers<'t>(&mut self, row: &Row, plan: &'t Export) -> Result<Vec<(u32, &'t str, Number)>> {
        let mut terms = Vec::with_capacity(row.vector.nnz());
        for (term, weight) in row.vector.iter() {
            match plan.quantize.number(weight, self.extent) {
                Some(number) => terms.push((term.0, plan.token(term)?, number)),
                None => self.summary.dropped += 1,
            }
        }
        self.summary.most = self.summary.most.max(row.vector.max_weight());
        self.summary.rows += 1;
        self.summary.postings += terms.len() as u64;
        self.summary.empty += u64::from(terms.is_empty());
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
        source.each(tokens, plan.role, |row| self.line(row, files))
    }

    /// A row that is a line.
    fn line(&mut self, row: &Row, files: &mut Files) -> Result<()> {
        let (plan, target) = (self.plan, self.plan.target);
        let terms = self.numbers(row, plan)?;
        let (title, text) = (row.title.as_deref(), row.text.as_deref());
        let place = self.summary.rows - 1;
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
}
