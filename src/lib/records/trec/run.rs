//! Runs.

use std::{collections::BTreeMap, io::Write};

use super::{Unlike, each_line, qrels::is_judgement, shown};
use crate::{
    error::{Error, Result},
    io::Input,
    records::rejects::Rejects,
};

/// A run line, for messages.
const RUN_LINE: &str = "`qid Q0 docno rank score tag`";

/// A run: rankings by query, in byte order. A document is in a ranking once.
///
/// A line takes 16 bytes and the document's id, so that ten million lines need some 300 MB however
/// they are ordered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    name: String,
    rankings: BTreeMap<String, Ranking>,
}

impl Run {
    /// Reads run lines `qid Q0 docno rank score tag` in any order. The rank
    /// and what follows the tag are ignored; the score is a double.
    ///
    /// # Errors
    /// [`Error::Line`] for a line of another form, a score that is not a number, and a document that
    /// is in its query's ranking already, through `rejects`; [`Error::Format`] if there is no
    /// line at all; [`Error::Io`].
    pub fn read(input: Input, rejects: &mut Rejects) -> Result<Run> {
        let mut run = Run { name: input.name().to_owned(), rankings: BTreeMap::new() };
        let name = run.name.clone();
        each_line(input, rejects, |number, text| {
            let (qid, docno, score) = parse_run_line(text)
                .map_err(|Unlike { wanted, found }| Error::line(&name, number, wanted, found))?;
            let ranking = match run.rankings.get_mut(qid) {
                Some(ranking) => ranking,
                None => run.rankings.entry(qid.to_owned()).or_default(),
            };
            ranking.push(docno, score, number).ok_or_else(|| too_large(&name))
        })?;
        if run.rankings.is_empty() {
            return Err(Error::format(&name, format!("expected run lines {RUN_LINE}, found none")));
        }
        for (qid, ranking) in &mut run.rankings {
            ranking.refuse_repeated(&name, qid, rejects)?;
        }
        Ok(run)
    }

    /// Without rankings.
    pub fn named(name: &str) -> Run {
        Run { name: name.to_owned(), rankings: BTreeMap::new() }
    }

    /// Adds the ranking of a query: documents and scores, in any order.
    ///
    /// # Errors
    /// [`Error::Line`] with the number of the hit for a document that is there twice and for a score that is
    /// not a number; [`Error::Usage`] for a query that has a ranking.
    pub fn insert<D: AsRef<str>>(
        &mut self,
        qid: &str,
        hits: impl IntoIterator<Item = (D, f64)>,
    ) -> Result<()> {
        if self.rankings.contains_key(qid) {
            let name = &self.name;
            let message =
                format!("{name}: expected the hits of each query once, found `{qid}` again");
            return Err(Error::Usage(message));
        }
        let mut ranking = Ranking::default();
        for (number, (docno, score)) in (1..).zip(hits) {
            if score.is_nan() {
                return Err(Error::line(&self.name, number, "a number as score", "NaN"));
            }
            let pushed = ranking.push(docno.as_ref(), score + 0.0, number);
            pushed.ok_or_else(|| too_large(&self.name))?;
        }
        ranking.refuse_repeated(&self.name, qid, &mut Rejects::stop())?;
        self.rankings.insert(qid.to_owned(), ranking);
        Ok(())
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rankings by query, in byte order.
    pub fn rankings(&self) -> &BTreeMap<String, Ranking> {
        &self.rankings
    }
}

fn too_large(name: &str) -> Error {
    Error::format(name, "expected at most 4294967295 lines and 4 GiB of document ids per query")
}

/// The documents found for one query, each once, in the order of the lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    docnos: String,
    hits: Vec<Hit>,
}

/// One line: where its document's id ends in `docnos` (it begins where the one before ends).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hit {
    score: f64,
    end: u32,
    line: u32,
}

impl Ranking {
    /// None if a number does not fit.
    fn push(&mut self, docno: &str, score: f64, line: u64) -> Option<()> {
        let end = u32::try_from(self.docnos.len() + docno.len()).ok()?;
        let line = u32::try_from(line).ok()?;
        self.docnos.push_str(docno);
        self.hits.push(Hit { score, end, line });
        Some(())
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Hit)> {
        let starts = std::iter::once(0).chain(self.hits.iter().map(|hit| hit.end));
        let docno = |(hit, start): (&Hit, u32)| &self.docnos[start as usize..hit.end as usize];
        self.hits.iter().zip(starts).map(move |(hit, start)| (docno((hit, start)), *hit))
    }

    /// Documents and scores as trec_eval ranks them: score descending, equal scores by document id
    /// descending in byte order.
    pub fn ranked(&self) -> Vec<(&str, f64)> {
        let mut ranked: Vec<_> = self.iter().map(|(docno, hit)| (docno, hit.score)).collect();
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(a.0)));
        ranked
    }

    /// The scores, in the order of the lines.
    pub fn scores(&self) -> impl Iterator<Item = f64> {
        self.hits.iter().map(|hit| hit.score)
    }

    /// Removes each document that an earlier line has already.
    fn refuse_repeated(&mut self, file: &str, qid: &str, rejects: &mut Rejects) -> Result<()> {
        let mut by_docno: Vec<(&str, Hit)> = self.iter().collect();
        by_docno.sort_unstable_by(|a, b| a.0.cmp(b.0).then(a.1.line.cmp(&b.1.line)));
        let mut repeated = Vec::new();
        for pair in by_docno.windows(2) {
            if pair[0].0 == pair[1].0 {
                repeated.push((pair[1].0, pair[0].1, pair[1].1));
            }
        }
        if repeated.is_empty() {
            return Ok(());
        }
        repeated.sort_unstable_by_key(|(_, _, hit)| hit.line);
        for &(docno, earlier, hit) in &repeated {
            let wanted = "each document once per query";
            let found =
                format!("`{docno}` again for query `{qid}` (first in line {})", earlier.line);
            let error = Error::line(file, hit.line.into(), wanted, found);
            rejects.take(error, format!("{qid} Q0 {docno} 0 {} -", hit.score).as_bytes())?;
        }
        let mut kept = Ranking::default();
        for (docno, hit) in self.iter() {
            if repeated.binary_search_by_key(&hit.line, |(_, _, hit)| hit.line).is_err() {
                kept.push(docno, hit.score, hit.line.into()).expect("a part of what fitted");
            }
        }
        *self = kept;
        Ok(())
    }
}

fn parse_run_line(text: &str) -> Result<(&str, &str, f64), Unlike> {
    let mut columns = text.split_ascii_whitespace();
    let mut next = || columns.next();
    let (Some(qid), _, Some(docno), _, Some(score), Some(_)) =
        (next(), next(), next(), next(), next(), next())
    else {
        let hint = if is_judgement(text) { " (judgements? QRELS comes before RUN)" } else { "" };
        return Err(Unlike { wanted: RUN_LINE.into(), found: shown(text) + hint });
    };
    match score.parse::<f64>() {
        // adding 0 makes -0 the same as 0, as it is for trec_eval
        Ok(number) if !number.is_nan() => Ok((qid, docno, number + 0.0)),
        _ => Err(Unlike {
            wanted: "a number as score".into(),
            found: format!("{} (a run line is {RUN_LINE})", shown(score)),
        }),
    }
}

/// Writes run lines.
pub struct RunWriter<W> {
    output: W,
    name: String,
    tag: String,
}

impl<W: Write> RunWriter<W> {
    /// Into `output`, which messages call `name`; `tag` fills the last column.
    ///
    /// # Errors
    /// [`Error::Usage`] if the tag is empty or holds white space.
    pub fn new(output: W, name: &str, tag: &str) -> Result<RunWriter<W>> {
        if !is_column(tag) {
            let reason = format!("expected a run tag without white space, found {}", shown(tag));
            return Err(Error::Usage(reason));
        }
        Ok(RunWriter { output, name: name.to_owned(), tag: tag.to_owned() })
    }

    /// One line, `rank` from 1. The score has as many digits as it takes to read back equal.
    ///
    /// # Errors
    /// [`Error::Format`] for an id that is empty or holds white space; [`Error::Io`].
    pub fn write(&mut self, qid: &str, docno: &str, rank: usize, score: f32) -> Result<()> {
        if let Some(id) = [qid, docno].into_iter().find(|id| !is_column(id)) {
            let reason =
                format!("expected ids without white space in a TREC run, found {}", shown(id));
            return Err(Error::format(&self.name, reason));
        }
        writeln!(self.output, "{qid} Q0 {docno} {rank} {score} {}", self.tag)
            .map_err(|source| Error::io(&self.name, source))
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.output
    }
}

fn is_column(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::records::rejects::OnError;

    fn read(text: &str) -> Result<Run> {
        let input = Input::from_reader("r", Cursor::new(text.to_owned()))?;
        Run::read(input, &mut Rejects::stop())
    }

    /// `expected` holds, query by query, `query: documents as ranked`, separated by semicolons.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let run = read(text).unwrap();
        let rankings = run.rankings.iter().map(|(qid, ranking)| {
            let docnos: Vec<&str> = ranking.ranked().into_iter().map(|(docno, _)| docno).collect();
            format!("{qid}: {}", docnos.join(" "))
        });
        assert_eq!(rankings.collect::<Vec<_>>().join("; "), expected);
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        assert_eq!(read(text).unwrap_err().to_string(), message);
    }

    #[test]
    fn ranks_by_score_then_document_descending_whatever_the_rank_column_says() {
        check("q Q0 a 1 1.0 t\nq Q0 b 2 2e0 t\nq Q0 c 3 1 t\n", "q: b c a");
        check("q Q0 a 1 -0 t\nq Q0 b 2 0 t\n", "q: b a");
        check("q Q0 d9 1 1 t\nq Q0 d10 2 1 t\nq Q0 é 3 1 t\n", "q: é d9 d10");
        check("q Q0 a 1 -inf t\nq Q0 b 2 -9 t\nq Q0 c 3 inf t\n", "q: c b a");
    }

    #[test]
    fn scores_are_doubles() {
        check("q Q0 b 1 1.00000001 t\nq Q0 a 2 1.00000002 t\n", "q: a b");
    }

    #[test]
    fn lines_come_in_any_order_with_comments_and_more_columns() {
        check(
            "#c\nq2 Q0 a 1 1 t x y\r\nq1\tQ0\ta\t1\t1\tt\n\nq2 Q0 b 1 3 t\nq1 Q0 c 0 7 t",
            "q1: c a; q2: b a",
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let wanted = "expected `qid Q0 docno rank score tag`";
        check_refused("", "r: expected run lines `qid Q0 docno rank score tag`, found none");
        check_refused("q Q0 d 1 2.0\n", &format!("r:1: {wanted}, found `q Q0 d 1 2.0`"));
        check_refused(
            "q1 0 d1 1\n",
            &format!("r:1: {wanted}, found `q1 0 d1 1` (judgements? QRELS comes before RUN)"),
        );
        let score = "expected a number as score, found";
        let form = "(a run line is `qid Q0 docno rank score tag`)";
        check_refused("q Q0 d 1 NaN t\n", &format!("r:1: {score} `NaN` {form}"));
        check_refused("q Q0 d 1 1 t\nq Q0 e 2 two t\n", &format!("r:2: {score} `two` {form}"));
        let long = "x".repeat(100);
        check_refused(&long, &format!("r:1: {wanted}, found `{}…`", "x".repeat(80)));
    }

    #[test]
    fn refuses_a_document_twice_for_a_query() {
        let text = "q Q0 a 1 2 t\np Q0 a 1 2 t\nq Q0 b 2 1 t\nq Q0 a 3 1 t\n";
        check_refused(
            text,
            "r:4: expected each document once per query, found `a` again for query `q` (first in line 1)",
        );
        let input = Input::from_reader("r", Cursor::new(text)).unwrap();
        let mut rejects = Rejects::open(OnError::Skip, None).unwrap();
        let run = Run::read(input, &mut rejects).unwrap();
        assert_eq!(rejects.count(), 1);
        assert_eq!(run.rankings["q"].ranked(), [("a", 2.0), ("b", 1.0)]);
    }

    #[test]
    fn what_is_skipped_leaves_the_rest() {
        let input =
            Input::from_reader("r", Cursor::new(&b"q\nq Q0 \xff 1 1 t\nq Q0 a 1 1 t\n"[..]));
        let mut rejects = Rejects::open(OnError::Skip, None).unwrap();
        let run = Run::read(input.unwrap(), &mut rejects).unwrap();
        assert_eq!((rejects.count(), run.rankings["q"].ranked()), (2, vec![("a", 1.0)]));
    }

    #[test]
    fn written_scores_read_back_equal() {
        let scores = [0.1f32, 1.0 / 3.0, 16_777_216.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, 12.5];
        let mut bytes = Vec::new();
        let mut writer = RunWriter::new(&mut bytes, "out", "tag").unwrap();
        for (rank, (docno, score)) in
            (1..).zip(["a", "b", "c", "d", "e", "f", "g"].iter().zip(scores))
        {
            writer.write("q", docno, rank, score).unwrap();
        }
        assert!(bytes.starts_with(b"q Q0 a 1 0.1 tag\nq Q0 b 2 0.33333334 tag\n"));
        let run = read(std::str::from_utf8(&bytes).unwrap()).unwrap();
        let mut read_back = run.rankings["q"].ranked();
        read_back.sort_unstable_by_key(|&(docno, _)| docno);
        assert!(read_back.iter().map(|&(_, score)| score as f32).eq(scores));
    }

    #[test]
    fn will_not_write_what_cannot_be_read_back() {
        assert!(RunWriter::new(Vec::new(), "out", "my run").is_err());
        let mut writer = RunWriter::new(Vec::new(), "out", "tag").unwrap();
        let error = writer.write("q", "a b", 1, 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "out: expected ids without white space in a TREC run, found `a b`"
        );
        assert!(writer.write("", "a", 1, 1.0).is_err());
    }
}
