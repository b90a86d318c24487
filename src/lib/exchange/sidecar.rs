//! What is written next to an export: what it is, the engine's schema, a sample query.

use std::path::Path;

use serde_json::json;

use super::{
    Entry, Export, Exported, Extent, Role, Source, Target, files::Files, lines, schema, steps,
};
use crate::{
    error::{Error, Result},
    index::QuerySide,
    sparse::{SparseVector, TermId},
    vectors::Row,
};

/// Weights of a query that ask for the sample's terms.
const SAMPLE_TERMS: usize = 3;

impl Export<'_> {
    /// What is written next to the output.
    pub(super) fn put_sidecars(
        &self,
        source: &Source,
        summary: &Exported,
        sample: Option<&Sample>,
        output: &Path,
        files: &mut Files,
    ) -> Result<()> {
        if self.role == Role::Documents {
            if let Some(found) =
                schema::schema(self.target, &self.names, summary.rows, summary.most)
            {
                files.put(found.ending, &found.text)?;
            }
            if let Some(sample) = sample {
                sample.put(self, files)?;
            }
        }
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let lines = steps::steps(self.target, &self.names, &name);
        let mut manifest = json!({
            "format": self.target.name(),
            "role": match self.role { Role::Documents => "document", Role::Queries => "query" },
            "rows": summary.rows, "weights": summary.postings, "empty": summary.empty,
            "quantize": self.quantize.to_string(), "dropped": summary.dropped,
            "terms": if self.target.by_token() { "tokens" } else { "ids" },
            "vocabulary_sha256": self.language.tokenizer.vocabulary().fingerprint(),
            "l0": env!("CARGO_PKG_VERSION"), "steps": lines,
        });
        if let Some(needed) = steps::needs(self.target) {
            manifest["needs"] = json!(needed);
        }
        match source {
            Source::Index(index) => {
                let metadata = index.metadata();
                manifest["stored"] = json!(metadata.weights);
                manifest["encoding"] = json!(metadata.encoding);
                manifest["query_weights"] = json!(metadata.query_weights);
            }
            Source::Vectors(_) => manifest["stored"] = json!("as they came"),
        }
        files.put("export.json", &format!("{manifest:#}\n"))
    }
}

/// A query for the first document that has a weight: its heaviest terms.
pub(super) struct Sample(SparseVector);

impl Sample {
    pub(super) fn of(row: &Row, language: &QuerySide) -> Result<Sample> {
        let asked =
            |term: TermId| language.table.weights().get(term.index()).copied().unwrap_or(0.0);
        let mut pairs: Vec<(TermId, f32)> = row.vector.iter().collect();
        pairs.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        pairs.retain(|&(term, _)| asked(term) > 0.0);
        pairs.truncate(SAMPLE_TERMS);
        let pairs = pairs.into_iter().map(|(term, _)| (term, asked(term)));
        SparseVector::from_unordered(pairs.collect()).map(Sample)
    }

    /// Writes the query in the engine's form, next to the documents.
    fn put(&self, plan: &Export, files: &mut Files) -> Result<()> {
        let Sample(vector) = self;
        let quantize = plan.target.usual_of_queries();
        let extent = vector.weights().iter().fold(Extent::NONE, |extent, &w| extent.with(w));
        let mut terms = Vec::new();
        for (term, weight) in vector.iter() {
            if let Some(number) = quantize.number(weight, extent) {
                terms.push((term.0, plan.token(term)?, number));
            }
        }
        let entry = Entry { place: 0, id: "sample", title: None, text: None, terms: &terms };
        if let Some(body) = lines::body(plan.target, &plan.names, plan.k, &entry) {
            return files.put("query.json", &format!("{body:#}\n"));
        }
        let mut text = Vec::new();
        let line = lines::query(&mut text, plan.target, &plan.names, plan.k, &entry);
        line.map_err(|error| Error::io("sample query", error))?;
        let ending = if plan.target == Target::Anserini { "query.tsv" } else { "query.txt" };
        files.put(ending, &String::from_utf8_lossy(&text))
    }
}
