//! The texts of a pool as token ids.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    io::Input,
    records::{Records, rejects::Rejects},
    sparse::TermId,
    text::{Bm25, Tokenizer},
    train::recipe::distill::PoolRecipe,
};

/// Passages and short texts, tokenised.
pub(in crate::train) struct Pool {
    /// What an encoder reads of each passage.
    pub documents: Vec<Vec<u32>>,
    /// What an encoder reads of each short text.
    pub queries: Vec<Vec<u32>>,
    /// The distinct word pieces of each short text, ascending, special tokens out.
    pub terms: Vec<Vec<u32>>,
}

impl Pool {
    /// Reads all files. Texts without a word piece are left out; a text that comes twice stays.
    ///
    /// # Errors
    /// As the readers of records; [`Error::Format`] if nothing is left of documents or queries.
    pub fn read(recipe: &PoolRecipe, tokenizer: &Tokenizer) -> Result<Pool> {
        let mut rejects = Rejects::stop();
        let inputs = |files: &[PathBuf]| -> Result<Vec<Input>> {
            files.iter().map(|file| Input::open(file)).collect()
        };
        let documents = Records::documents(inputs(&recipe.documents)?, &mut rejects);
        let documents = documents.map(|one| Ok(one?.content())).collect::<Result<Vec<_>>>()?;
        let queries = Records::text_queries(inputs(&recipe.queries)?, &mut rejects);
        let queries = queries.map(|one| Ok(one?.text)).collect::<Result<Vec<_>>>()?;
        let read = |texts: &[String]| -> Result<Vec<Vec<u32>>> {
            let one = |text: &String| tokenizer.tokens(text, recipe.max_tokens);
            let read = texts.par_iter().map(one).collect::<Result<Vec<_>>>()?;
            Ok(read.into_iter().filter(|read| read.pieces > 0).map(|read| read.ids).collect())
        };
        let (documents, queries) = (read(&documents)?, read(&queries)?);
        for (what, texts, files) in
            [("documents", &documents, &recipe.documents), ("queries", &queries, &recipe.queries)]
        {
            if texts.is_empty() {
                let file = files.first().map_or(Path::new("pool"), PathBuf::as_path);
                return Err(Error::format(file, format!("expected {what} with text, found none")));
            }
        }
        let distinct = |ids: &Vec<u32>| {
            let mut terms = ids.clone();
            terms.retain(|&term| !tokenizer.is_special(TermId(term)));
            terms.sort_unstable();
            terms.dedup();
            terms
        };
        let terms = queries.iter().map(distinct).collect();
        Ok(Pool { documents, queries, terms })
    }

    /// BM25's impact of each term of each passage, terms ascending, before any idf.
    pub fn impacts(&self) -> Vec<Vec<(u32, f32)>> {
        let total: usize = self.documents.iter().map(Vec::len).sum();
        let mean = total as f64 / self.documents.len() as f64;
        let of = |ids: &Vec<u32>| {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            let runs = sorted.chunk_by(|a, b| a == b);
            let impact = |run: &[u32]| {
                (run[0], Bm25::USUAL.impact(1.0, run.len() as u32, ids.len() as u32, mean))
            };
            runs.map(impact).collect()
        };
        self.documents.par_iter().map(of).collect()
    }
}
