//! Texts by their ids, of a BEIR folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    io::Input,
    records::{Records, TextQuery, examples::Example, rejects::Rejects},
};

/// `NAME.jsonl` of a BEIR folder, plain or packed.
pub(in crate::train) fn beir_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let files = ["jsonl", "jsonl.gz"].map(|end| folder.join(format!("{name}.{end}")));
    let lacking = || Error::format(folder, format!("expected a BEIR folder with {name}.jsonl"));
    files.into_iter().find(|file| file.exists()).ok_or_else(lacking)
}

/// Texts by id, of a BEIR folder.
pub(in crate::train) struct Texts {
    folder: PathBuf,
    documents: BTreeMap<String, String>,
    queries: BTreeMap<String, String>,
}

impl Texts {
    pub(super) fn load(folder: &Path) -> Result<Texts> {
        let find = |name: &str| Input::open(&beir_file(folder, name)?);
        let mut rejects = Rejects::stop();
        let mut texts = Texts {
            folder: folder.to_owned(),
            documents: BTreeMap::new(),
            queries: BTreeMap::new(),
        };
        for document in Records::documents(vec![find("corpus")?], &mut rejects) {
            let document = document?;
            let content = document.content();
            texts.documents.insert(document.id, content);
        }
        for query in Records::text_queries(vec![find("queries")?], &mut rejects) {
            let TextQuery { id, text } = query?;
            texts.queries.insert(id, text);
        }
        Ok(texts)
    }

    /// A query's text; the error says what is missing.
    pub fn query(&self, id: &str) -> Result<&str, String> {
        self.found(&self.queries, "query", id)
    }

    /// A document's text; the error says what is missing.
    pub fn document(&self, id: &str) -> Result<&str, String> {
        self.found(&self.documents, "document", id)
    }

    /// The texts of all documents, in the order of their ids.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.documents.values().map(String::as_str)
    }

    fn found<'a>(
        &self,
        map: &'a BTreeMap<String, String>,
        what: &str,
        id: &str,
    ) -> Result<&'a str, String> {
        let text = map.get(id).filter(|text| !text.trim().is_empty());
        text.map(String::as_str).ok_or_else(|| {
            format!("{what} `{id}`, which {} lacks or has empty", self.folder.display())
        })
    }

    /// The example with texts in place of ids.
    pub(super) fn fill(&self, mut example: Example) -> Result<Example, String> {
        example.query = self.query(&example.query)?.to_owned();
        for doc in &mut example.docs {
            *doc = self.document(doc)?.to_owned();
        }
        Ok(example)
    }

    /// The example itself, if all its ids have texts.
    pub(super) fn check(&self, example: Example) -> Result<Example, String> {
        self.query(&example.query)?;
        example.docs.iter().try_for_each(|doc| self.document(doc).map(drop))?;
        Ok(example)
    }
}
