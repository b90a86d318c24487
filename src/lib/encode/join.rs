//! Joins the parts of a sharded run to the output of a single run.

use super::{carried, finish};
use crate::{
    error::{Error, Result},
    io::{Input, Output},
    text::DocumentFrequencies,
    vectors::{self, Form, HasText, Row, VectorMeta, Vectors, Writer},
};

/// A part that is being read.
struct Part {
    name: String,
    vectors: Vectors,
    read: u64,
}

impl Part {
    fn next(&mut self) -> Result<Option<Row>> {
        let row = self.vectors.rows.next().transpose()?;
        self.read += u64::from(row.is_some());
        Ok(row)
    }
}

/// Writes the rows of `parts`, which `--shard 0/N` to `--shard N-1/N` made in this order, in the order
/// of the input they were made of: row `i` is row `i / N` of part `i % N`. Returns their number; `each`
/// is called after every row. A batch of rows of each part is in memory. Document frequencies are added
/// up if all parts have them.
///
/// # Errors
/// [`Error::Mismatch`] if the parts were made by different models or options; [`Error::Format`] if
/// their numbers of rows cannot be those of the shards of one input, or if a text would be lost; the first error of a part or the
/// output, of which nothing is left then.
pub fn join(parts: Vec<Input>, output: Output, form: Form, mut each: impl FnMut()) -> Result<u64> {
    let (mut parts, meta) = open(parts)?;
    let Some(meta) = meta.or((form == Form::JsonLines).then(VectorMeta::default)) else {
        let reason = "the parts do not say what made them, as JSON lines cannot: expected JSON lines \
                      as output";
        return Err(Error::Usage(reason.into()));
    };
    let Some(first) = parts.first_mut() else {
        return Err(Error::Usage("expected the parts of a sharded run, found none".into()));
    };
    let mut next = first.next()?;
    let has_text = |row: &Row| row.text.is_some() || row.title.is_some();
    let keep_text = next.as_ref().is_some_and(has_text)
        || parts.iter().any(|part| part.vectors.has_text == HasText::Yes);
    let mut writer = Writer::new(output, form, &meta, keep_text)?;
    let (mut rows, mut at) = (0, 0);
    while let Some(row) = next {
        if !keep_text && has_text(&row) {
            let reason = format!(
                "row {} has a text, which the first row of all has not: it would be lost; expected \
                 texts in all parts or in none",
                parts[at].read
            );
            return Err(Error::format(&parts[at].name, reason));
        }
        writer.write(&row)?;
        each();
        rows += 1;
        at = (at + 1) % parts.len();
        next = parts[at].next()?;
    }
    check_ends(&mut parts, at)?;
    finish(writer, counted(&parts, &meta)?.as_ref())?;
    Ok(rows)
}

/// Opens every part and compares where they say that they come from.
fn open(inputs: Vec<Input>) -> Result<(Vec<Part>, Option<VectorMeta>)> {
    let mut parts: Vec<Part> = Vec::with_capacity(inputs.len());
    let mut common: Option<Option<VectorMeta>> = None;
    let mut shards = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = input.name().to_owned();
        let mut vectors = vectors::open(input, None)?;
        let meta = &mut vectors.meta;
        shards.push(meta.as_mut().and_then(|meta| meta.shard.take()));
        let expected = common.get_or_insert_with(|| meta.clone());
        if expected != meta {
            let differs = match (&*expected, &*meta) {
                (Some(expected), Some(meta)) => expected.difference(meta),
                _ => None,
            };
            let (key, expected, got) = differs.unwrap_or_else(|| {
                let said = |meta: &Option<VectorMeta>| match meta {
                    Some(meta) => meta.model.clone(),
                    None => "a file that does not say".to_owned(),
                };
                ("model".into(), said(expected), said(meta))
            });
            return Err(Error::Mismatch {
                what: format!("{name}: what made the vectors, {key}"),
                expected: format!("{expected} as in {}", parts[0].name),
                got,
                remedy: "join parts of one model, made with the same options".into(),
            });
        }
        parts.push(Part { name, vectors, read: 0 });
    }
    if common.as_ref().is_some_and(Option::is_some) {
        check_shards(&parts, &shards)?;
    }
    Ok((parts, common.flatten()))
}

/// The document frequencies of all parts, of which every row was read; none if a part has none.
fn counted(parts: &[Part], meta: &VectorMeta) -> Result<Option<DocumentFrequencies>> {
    let mut sum: Option<DocumentFrequencies> = None;
    for part in parts {
        match (&mut sum, carried(&part.name, &part.vectors.ending, meta)?) {
            (_, None) => return Ok(None),
            (Some(sum), Some(more)) => sum.merge(&more)?,
            (sum @ None, more) => *sum = more,
        }
    }
    Ok(sum)
}

/// Checks that the parts are the shards 0/N to N-1/N, in this order; a single part may be a whole run.
fn check_shards(parts: &[Part], shards: &[Option<String>]) -> Result<()> {
    let count = parts.len();
    for (at, (part, found)) in parts.iter().zip(shards).enumerate() {
        let wanted = format!("{at}/{count}");
        if *found == Some(wanted.clone()) || count == 1 && found.is_none() {
            continue;
        }
        return Err(Error::Mismatch {
            what: format!("{}: shard", part.name),
            expected: format!("{wanted}, being number {at} of {count} parts"),
            got: found.clone().unwrap_or_else(|| "a file that does not say".into()),
            remedy: "give every part once, from 0/N to N-1/N in this order".into(),
        });
    }
    Ok(())
}

/// After part `ended` had no further row, no part may have one.
fn check_ends(parts: &mut [Part], ended: usize) -> Result<()> {
    let (name, read) = (parts[ended].name.clone(), parts[ended].read);
    for part in parts.iter_mut() {
        if part.next()?.is_some() {
            let reason = format!(
                "expected no more than {} rows, since {name} has {read}; expected every shard from 0/N to \
                 N-1/N, whole, in this order",
                part.read - 1
            );
            return Err(Error::format(&part.name, reason));
        }
    }
    Ok(())
}
