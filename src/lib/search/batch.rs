//! Queries in, answers out: answered in parallel, written in the order of the queries, and handed on
//! as soon as no further query waits.

use std::{
    io::Write,
    sync::mpsc::{self, TryRecvError},
    thread,
};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{
    engine::Engine,
    questions::{QueryLine, QueryReader},
    render::{Answer, AnswerForm, Hits, Rendered},
};
use crate::{
    error::{Error, Result},
    io::Output,
};

/// Queries that are answered together at most.
const BATCH: usize = 1024;

/// How many queries were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub queries: u64,
    /// Those that were answered by an error record.
    pub errors: u64,
}

/// How answers are written.
#[derive(Clone, Debug)]
pub struct AnswerConfig {
    /// The form.
    pub form: AnswerForm,
    /// Last column of a TREC run.
    pub tag: String,
    /// Characters in a line of the form for people.
    pub columns: usize,
}

impl Engine {
    /// The answer to a question, whatever it is.
    pub fn reply(&self, question: QueryLine) -> Answer {
        let number = question.number;
        match question.parse() {
            Err(error) => Answer { number, id: None, hits: Err(error) },
            Ok(query) => {
                let hits = self
                    .vector(&query.body)
                    .and_then(|vector| Ok(Hits { found: self.search(&vector)?, query: vector }));
                Answer { number, id: query.id, hits }
            }
        }
    }

    /// Answers all questions in their order; `refused` hears of those that could not be answered.
    /// The output is flushed whenever no further question waits, and not committed.
    ///
    /// # Errors
    /// [`Error::Io`] of the input or the output; the first error of an answer that is not about its
    /// query, such as a damaged index.
    pub fn answer_all(
        &self,
        questions: QueryReader,
        config: &AnswerConfig,
        output: &mut Output,
        refused: impl FnMut(u64, &Error),
    ) -> Result<Count> {
        let stop = questions.stop();
        let done = self.reply_each(questions, config, output, refused);
        // after a failure the thread that reads would go on taking what is meant for others
        done.inspect_err(|_| stop.stop())
    }

    fn reply_each(
        &self,
        mut questions: QueryReader,
        config: &AnswerConfig,
        output: &mut Output,
        mut refused: impl FnMut(u64, &Error),
    ) -> Result<Count> {
        let (sender, receiver) = mpsc::sync_channel(BATCH);
        // reads on while answers are made; it ends with the input, or when the receiver is gone
        thread::spawn(move || questions.all(|question| sender.send(question).is_ok()));
        let mut count = Count::default();
        loop {
            let first = match receiver.try_recv() {
                Ok(question) => Ok(question),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    flush(output)?;
                    receiver.recv()
                }
            };
            let Ok(first) = first else { break };
            let batch: Vec<_> =
                std::iter::once(first).chain(receiver.try_iter().take(BATCH - 1)).collect();
            let answer = |question| self.reply(question).render(self, config);
            let answers: Vec<Result<Rendered>> =
                batch.into_par_iter().map(|question| question.map(answer)).collect();
            for answer in answers {
                let Rendered { number, text, error } = answer?;
                count.queries += 1;
                match error {
                    Some(error) if concerns_query(&error) => {
                        count.errors += 1;
                        refused(number, &error);
                    }
                    Some(error) => return Err(error),
                    None => {}
                }
                let written = output.write_all(text.as_bytes());
                written.map_err(|source| Error::io(output.name(), source))?;
            }
        }
        flush(output)?;
        Ok(count)
    }
}

/// Whether the next query may fare better; a damaged index spoils all.
fn concerns_query(error: &Error) -> bool {
    matches!(
        error,
        Error::Line { .. } | Error::Usage(_) | Error::Weight { .. } | Error::Order { .. }
    )
}

fn flush(output: &mut Output) -> Result<()> {
    output.flush().map_err(|source| Error::io(output.name(), source))
}
