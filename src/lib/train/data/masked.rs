//! Masked-language modelling: which word pieces of a text are hidden, and what it costs to guess
//! them.

use candle_core::Tensor;

use super::{
    mixture::{Drawn, Mixture},
    random::Random,
};
use crate::{
    error::{Error, Result},
    model::{Batch, TensorEncoder},
    nn::Dropout,
    records::examples::Example,
    sparse::TermId,
    text::Tokenizer,
    train::recipe::masked::{MaskedLmRecipe, Texts},
};

impl MaskedLmRecipe {
    /// The next batch of `count` texts, the same for the same seed and draws.
    ///
    /// # Errors
    /// As [`Mixture::draw`]; [`Error::Usage`] if no text has a word piece.
    pub fn draw(
        &self,
        mixture: &mut Mixture,
        tokenizer: &Tokenizer,
        pieces: &Pieces,
        (count, max_tokens): (usize, usize),
    ) -> Result<MaskedBatch> {
        let mut batch = MaskedBatch { texts: Vec::new(), hidden: Vec::new() };
        for _ in 0..count {
            let Drawn { example, mut random, .. } = mixture.draw()?;
            let text = self.text(example, &mut random);
            let ids = tokenizer.tokens(&text, max_tokens)?.ids;
            let (ids, hidden) = self.hide(ids, pieces, tokenizer, &mut random);
            batch.texts.push(ids);
            batch.hidden.push(hidden);
        }
        if batch.hidden.iter().all(Vec::is_empty) {
            return Err(Error::Usage(format!(
                "expected texts with word pieces to hide, found {count} without any in a batch; look at the \
                 data with l0-train check"
            )));
        }
        Ok(batch)
    }

    fn text(&self, example: Example, random: &mut Random) -> String {
        let Example { query, mut docs, .. } = example;
        match self.texts {
            Texts::Queries => return query,
            Texts::Both => docs.push(query),
            Texts::Documents => {}
        }
        docs.swap_remove(random.below(docs.len()))
    }

    /// The text with pieces hidden; places in it, ascending, and the hidden pieces.
    fn hide(
        &self,
        mut ids: Vec<u32>,
        pieces: &Pieces,
        tokenizer: &Tokenizer,
        random: &mut Random,
    ) -> (Vec<u32>, Vec<(u32, u32)>) {
        let plain = |&at: &usize| !tokenizer.is_special(TermId(ids[at]));
        let mut places: Vec<usize> = (0..ids.len()).filter(plain).collect();
        let count = (self.share * places.len() as f64).round().max(1.0) as usize;
        random.shuffle(&mut places);
        places.truncate(count);
        places.sort_unstable();
        let mut hidden = Vec::with_capacity(places.len());
        for place in places {
            hidden.push((place as u32, ids[place]));
            let share = random.share();
            if share < self.mask {
                ids[place] = pieces.mask;
            } else if share < self.mask + self.random {
                ids[place] = pieces.plain[random.below(pieces.plain.len())];
            }
        }
        (ids, hidden)
    }
}

/// What replaces a hidden word piece.
pub struct Pieces {
    mask: u32,
    plain: Vec<u32>,
}

impl Pieces {
    /// The mask token and all tokens that are not special.
    ///
    /// # Errors
    /// [`Error::Usage`] if the vocabulary lacks either.
    pub fn of(tokenizer: &Tokenizer) -> Result<Pieces> {
        let terms = (0..).map(TermId).take(tokenizer.vocabulary().len());
        let plain: Vec<u32> =
            terms.filter(|&term| !tokenizer.is_special(term)).map(|term| term.0).collect();
        match tokenizer.mask() {
            Some(mask) if !plain.is_empty() => Ok(Pieces { mask: mask.0, plain }),
            _ => Err(Error::Usage(
                "a masked_lm stage wants a tokenizer with a mask token and word pieces".into(),
            )),
        }
    }
}

/// Texts with some word pieces hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedBatch {
    /// As the encoder reads them.
    pub texts: Vec<Vec<u32>>,
    /// For each text, places in it and the hidden pieces.
    pub hidden: Vec<Vec<(u32, u32)>>,
}

impl MaskedBatch {
    /// The mean cross entropy over all hidden pieces, `micro_batch` texts at a time: `each` gets
    /// the part of the loss of some texts, to be differentiated; the loss is the sum of the parts.
    ///
    /// # Errors
    /// As [`TensorEncoder::masked_loss`]; whatever `each` fails with.
    pub fn loss(
        &self,
        encoder: &TensorEncoder,
        micro_batch: usize,
        dropout: Option<Dropout>,
        mut each: impl FnMut(Tensor) -> Result<()>,
    ) -> Result<f64> {
        let all = self.hidden.iter().map(Vec::len).sum::<usize>() as f64;
        let mut sum = 0.0;
        let parts = self.texts.chunks(micro_batch).zip(self.hidden.chunks(micro_batch));
        for (first, (texts, hidden)) in (0..).step_by(micro_batch).zip(parts) {
            let batch = Batch::new(texts, first);
            let rows = batch.packing.documents().zip(hidden).flat_map(|((_, rows), hidden)| {
                hidden.iter().map(move |&(place, _)| rows.start as u32 + place)
            });
            let rows: Vec<u32> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let targets: Vec<u32> = hidden.iter().flatten().map(|&(_, piece)| piece).collect();
            let mean = encoder.masked_loss(&batch, &rows, &targets, dropout)?;
            let part = (mean * (rows.len() as f64 / all))?;
            sum += f64::from(part.to_scalar::<f32>()?);
            each(part)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn recipe(text: &str) -> MaskedLmRecipe {
        toml::from_str(text).unwrap()
    }

    fn toy() -> (Tokenizer, Pieces) {
        let tokenizer = Tokenizer::load(Path::new("testdata/toy")).unwrap();
        let pieces = Pieces::of(&tokenizer).unwrap();
        (tokenizer, pieces)
    }

    #[test]
    fn pieces_are_hidden_by_the_rule_of_bert() {
        let (tokenizer, pieces) = toy();
        let text = "the weather in the city is good today and the rain [UNK] ".repeat(4);
        let ids = tokenizer.tokens(&text, 64).unwrap().ids;
        let special = |id: u32| tokenizer.is_special(TermId(id));
        let plain = ids.iter().filter(|&&id| !special(id)).count();
        let (mut masked, mut kept, mut other) = (0.0, 0.0, 0.0);
        for draw in 0..2000 {
            let (read, hidden) =
                recipe("").hide(ids.clone(), &pieces, &tokenizer, &mut Random::new(3, draw));
            assert_eq!(hidden.len(), (0.15 * plain as f64).round() as usize);
            assert!(hidden.is_sorted() && hidden.iter().all(|&(_, piece)| !special(piece)));
            let mut back = read.clone();
            for &(place, piece) in &hidden {
                let seen = read[place as usize];
                assert_eq!(ids[place as usize], piece);
                if seen == pieces.mask {
                    masked += 1.0;
                } else if seen == piece {
                    kept += 1.0;
                } else {
                    assert!(!special(seen));
                    other += 1.0;
                }
                back[place as usize] = piece;
            }
            assert_eq!(back, ids, "changed where nothing is guessed");
        }
        let all: f64 = masked + kept + other;
        for (got, share) in [(masked, 0.8), (kept, 0.1), (other, 0.1)] {
            // five standard deviations of a binomial share
            let far = 5.0 * (share * (1.0 - share) / all).sqrt();
            assert!((got / all - share).abs() < far, "{} of {share}", got / all);
        }
    }

    #[test]
    fn the_draw_decides_and_a_short_text_has_one_piece() {
        let (tokenizer, pieces) = toy();
        let hide = |text: &str, recipe: &MaskedLmRecipe, draw| {
            let ids = tokenizer.tokens(text, 64).unwrap().ids;
            recipe.hide(ids, &pieces, &tokenizer, &mut Random::new(3, draw))
        };
        let plain = recipe("");
        let long = "the weather in the city is good today";
        assert_eq!(hide(long, &plain, 1), hide(long, &plain, 1));
        assert_ne!(hide(long, &plain, 1), hide(long, &plain, 2));
        assert_eq!(hide("rain", &plain, 0).1.len(), 1);
        assert_eq!(hide("", &plain, 0).1, []);
        let all = recipe("share = 1.0\nmask = 1.0\nrandom = 0.0");
        let (read, hidden) = hide(long, &all, 0);
        assert_eq!(hidden.len(), read.len() - 2);
        assert!(read[1..read.len() - 1].iter().all(|&id| id == pieces.mask));
    }

    #[test]
    fn texts_come_from_documents_queries_or_both() {
        let example = || Example {
            query: "q".into(),
            docs: vec!["a".into(), "b".into()],
            positives: 1,
            scores: None,
        };
        let mut random = Random::new(0, 0);
        let mut seen = |text: &str| {
            let recipe = recipe(text);
            let mut seen: Vec<String> =
                (0..50).map(|_| recipe.text(example(), &mut random)).collect();
            seen.sort();
            seen.dedup();
            seen
        };
        assert_eq!(seen(""), ["a", "b"]);
        assert_eq!(seen("texts = \"queries\""), ["q"]);
        assert_eq!(seen("texts = \"both\""), ["a", "b", "q"]);
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for (text, found) in [
            ("share = 0", "share above 0"),
            ("share = nan", "share above 0"),
            ("mask = 0.95", "at most 1"),
            ("random = -0.1", "from 0 to 1"),
            ("corpus = \"c\"\ntexts = \"both\"", "no queries"),
        ] {
            let error = recipe(text).check().unwrap_err();
            assert!(error.contains(found), "{text}: {error}");
        }
        assert!(recipe("").check().is_ok());
    }
}
