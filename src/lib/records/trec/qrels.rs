//! Judgements.

use std::collections::BTreeMap;

use super::{Unlike, each_line, shown};
use crate::{
    error::{Error, Result},
    io::Input,
    records::rejects::Rejects,
};

/// A TREC judgement, for messages.
const TREC_JUDGEMENT: &str = "`qid iter docno grade`";
/// The header of BEIR judgements.
const BEIR_HEADER: [&str; 3] = ["query-id", "corpus-id", "score"];

/// A judgement: 0 not relevant, 1 or more relevant, below 0 pooled but not judged.
pub type Grade = i32;

/// Judgements by query and document, both in byte order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qrels {
    queries: BTreeMap<String, BTreeMap<String, Grade>>,
    repeated: u64,
}

impl Qrels {
    /// Reads TREC judgements `qid iter docno grade`, or BEIR ones: `query-id`, `corpus-id`, `score`
    /// between tabs under a header of these words. The first line decides which. Of a pair judged
    /// twice the last grade counts.
    ///
    /// # Errors
    /// [`Error::Line`] for what is neither, through `rejects`; [`Error::Format`] if there is no
    /// judgement at all; [`Error::Io`].
    pub fn read(input: Input, rejects: &mut Rejects) -> Result<Qrels> {
        let name = input.name().to_owned();
        let mut qrels = Qrels::default();
        let mut form = None;
        each_line(input, rejects, |number, text| {
            let form = match form {
                Some(form) => form,
                None if is_beir_header(text) => {
                    form = Some(QrelsForm::Beir);
                    return Ok(());
                }
                None => *form.insert(QrelsForm::Trec),
            };
            let parsed = form.parse(text);
            let (qid, docno, grade) = parsed
                .map_err(|Unlike { wanted, found }| Error::line(&name, number, wanted, found))?;
            qrels.insert(qid, docno, grade);
            Ok(())
        })?;
        if qrels.queries.is_empty() {
            return Err(Error::format(
                &name,
                format!("expected judgements {TREC_JUDGEMENT}, found none"),
            ));
        }
        Ok(qrels)
    }

    /// Adds a judgement; it replaces one of the same pair.
    pub fn insert(&mut self, qid: &str, docno: &str, grade: Grade) {
        if !self.queries.contains_key(qid) {
            self.queries.insert(qid.to_owned(), BTreeMap::new());
        }
        let grades = self.queries.get_mut(qid).expect("was put in above");
        if grades.insert(docno.to_owned(), grade).is_some() {
            self.repeated += 1;
        }
    }

    /// The judged queries and their documents' grades, in byte order.
    pub fn queries(&self) -> &BTreeMap<String, BTreeMap<String, Grade>> {
        &self.queries
    }

    /// How many lines judged a pair again.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

/// The two forms of judgements.
#[derive(Clone, Copy)]
enum QrelsForm {
    Trec,
    Beir,
}

impl QrelsForm {
    fn parse(self, text: &str) -> Result<(&str, &str, Grade), Unlike> {
        let beir = || BEIR_HEADER.join("<TAB>");
        let (columns, wanted) = match self {
            QrelsForm::Trec => {
                let columns: Vec<&str> = text.split_ascii_whitespace().collect();
                (columns, format!("{TREC_JUDGEMENT}, or the header `{}` first", beir()))
            }
            QrelsForm::Beir => (text.split('\t').map(str::trim).collect(), format!("`{}`", beir())),
        };
        let (qid, docno, grade) = match (self, columns.as_slice()) {
            (QrelsForm::Trec, &[qid, _, docno, grade]) => (qid, docno, grade),
            (QrelsForm::Beir, &[qid, docno, grade]) if !qid.is_empty() && !docno.is_empty() => {
                (qid, docno, grade)
            }
            (_, columns) if columns.len() == 6 => {
                let found = format!("{} (a run? QRELS comes before RUN)", shown(text));
                return Err(Unlike { wanted, found });
            }
            _ => return Err(Unlike { wanted, found: shown(text) }),
        };
        let grade = grade.parse().map_err(|_| {
            let wanted = "a whole number as grade".into();
            Unlike { wanted, found: shown(grade) }
        })?;
        Ok((qid, docno, grade))
    }
}

fn is_beir_header(text: &str) -> bool {
    text.split('\t').map(str::trim).eq(BEIR_HEADER)
}

/// Whether a line is a judgement, for a hint if a run is expected.
pub(super) fn is_judgement(text: &str) -> bool {
    is_beir_header(text) || QrelsForm::Trec.parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Qrels> {
        let input = Input::from_reader("q", std::io::Cursor::new(text.to_owned()))?;
        Qrels::read(input, &mut Rejects::stop())
    }

    /// `expected` holds `query document grade` in byte order, separated by commas.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let qrels = read(text).unwrap();
        let triples = qrels.queries.iter().flat_map(|(qid, grades)| {
            grades.iter().map(move |(docno, grade)| format!("{qid} {docno} {grade}"))
        });
        assert_eq!(triples.collect::<Vec<_>>().join(","), expected);
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        assert_eq!(read(text).unwrap_err().to_string(), message);
    }

    #[test]
    fn the_first_line_tells_the_form() {
        check("q1 0 d1 1\nq1\t0\td2   0\n", "q1 d1 1,q1 d2 0");
        check("query-id\tcorpus-id\tscore\nq1\td1\t2\n", "q1 d1 2");
        check("# note\n\nquery-id\tcorpus-id\tscore\r\nq1\td1\t2\r\n", "q1 d1 2");
        check("query-id\tcorpus-id\tscore\nq 1\td 1\t2\n", "q 1 d 1 2");
    }

    #[test]
    fn comments_blank_lines_and_negative_grades_are_taken() {
        check("# a\n# b\nq2 0 d1 -1\n\n  # c\nq1 0 d1 3", "q1 d1 3,q2 d1 -1");
    }

    #[test]
    fn the_last_grade_of_a_pair_holds_and_is_counted() {
        check("q 0 d 1\nq 0 e 1\nq 0 d 0\n", "q d 0,q e 1");
        assert_eq!(read("q 0 d 1\nq 0 e 1\nq 0 d 0\n").unwrap().repeated(), 1);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let trec = "`qid iter docno grade`, or the header `query-id<TAB>corpus-id<TAB>score` first";
        check_refused("", "q: expected judgements `qid iter docno grade`, found none");
        check_refused("# only\n", "q: expected judgements `qid iter docno grade`, found none");
        check_refused("q1\td1\t1\n", &format!("q:1: expected {trec}, found `q1\td1\t1`"));
        check_refused("q1 0 d1 1\nq1 d2 1\n", &format!("q:2: expected {trec}, found `q1 d2 1`"));
        check_refused(
            "q1 Q0 d1 1 2.5 tag\n",
            &format!(
                "q:1: expected {trec}, found `q1 Q0 d1 1 2.5 tag` (a run? QRELS comes before RUN)"
            ),
        );
        check_refused("q1 0 d1 yes\n", "q:1: expected a whole number as grade, found `yes`");
        check_refused(
            "query-id\tcorpus-id\tscore\nq1\td1\n",
            "q:2: expected `query-id<TAB>corpus-id<TAB>score`, found `q1\td1`",
        );
        check_refused(
            "query-id\tcorpus-id\tscore\nq1\td1\t1.5\n",
            "q:2: expected a whole number as grade, found `1.5`",
        );
    }
}
