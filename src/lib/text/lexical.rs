//! The lexical part of a document's weights: how often it has a term, added to the network's weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bm25, QueryTable, Tokenizer};
use crate::{
    error::{Error, Result},
    sparse::{SparseVector, TermId},
};

/// c · tf · (k1 + 1) / (tf + k1 · (1 − b + b · n / length)), added to the weight of each term that a
/// document has: BM25's term frequency without its idf, which is in the query table.
///
/// A network that takes a maximum over tokens sees *that* a term occurs, but hardly how often. tf counts the
/// word pieces that are read, n is the number of tokens, including special ones, and `length` is a constant,
/// so that a document's weights depend on no other document. Not in the paper.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lexical {
    /// c, 0 or more: the weight of a term that a document of the usual length has once.
    pub weight: f32,
    /// How fast a repeated term saturates, 0 or more.
    #[serde(default = "usual_k1")]
    pub k1: f32,
    /// How much a long document is discounted, 0 to 1.
    #[serde(default = "usual_b")]
    pub b: f32,
    /// Word pieces of a document that is neither discounted nor raised, above 0.
    #[serde(default = "usual_length")]
    pub length: f32,
}

fn usual_k1() -> f32 {
    Bm25::USUAL.k1
}
fn usual_b() -> f32 {
    Bm25::USUAL.b
}
fn usual_length() -> f32 {
    150.0
}

impl Lexical {
    /// With the usual constants.
    pub fn of_weight(weight: f32) -> Lexical {
        Lexical { weight, k1: usual_k1(), b: usual_b(), length: usual_length() }
    }

    /// A model's own part with another weight, if one is asked for; `None` if nothing is added.
    pub fn or_of(own: Option<Lexical>, weight: Option<f32>) -> Option<Lexical> {
        let all = match (own, weight) {
            (own, None) => own,
            (Some(own), Some(weight)) => Some(Lexical { weight, ..own }),
            (None, Some(weight)) => Some(Lexical::of_weight(weight)),
        };
        all.filter(|lexical| lexical.weight != 0.0)
    }

    /// # Errors
    /// [`Error::Usage`] for a constant out of its range.
    pub fn check(&self) -> Result<()> {
        Bm25::new(self.k1, self.b)?;
        let Lexical { weight, length, .. } = *self;
        if weight.is_finite() && weight >= 0.0 && length.is_finite() && length > 0.0 {
            return Ok(());
        }
        let wanted = "lexical: expected a weight from 0 and a length above 0";
        Err(Error::Usage(format!("{wanted}, found {weight} and {length}")))
    }

    fn digest(&self) -> String {
        let Lexical { weight, k1, b, length } = self;
        format!("{weight}*tf:k1={k1},b={b},length={length}")
    }
}

/// A lexical part and the terms that it counts.
#[derive(Clone, Debug)]
pub struct LexicalPart {
    lexical: Lexical,
    /// The factor of each term; 0 for terms that do not count.
    scales: Vec<f32>,
}

impl LexicalPart {
    /// Counts the terms that a query can have: no special tokens, and none of weight 0 in the query
    /// table, if there is one.
    ///
    /// # Errors
    /// As [`Lexical::check`].
    pub fn new(
        lexical: Lexical,
        tokenizer: &Tokenizer,
        table: Option<&QueryTable>,
    ) -> Result<LexicalPart> {
        lexical.check()?;
        let asked = |term: u32| table.is_none_or(|table| table.weights()[term as usize] > 0.0);
        let counted = |term: u32| !tokenizer.is_special(TermId(term)) && asked(term);
        let scales = 0..tokenizer.vocabulary().len() as u32;
        let scales = scales.map(|term| if counted(term) { 1.0 } else { 0.0 }).collect();
        Ok(LexicalPart { lexical, scales })
    }

    /// The same with a trained scale for each term, `[V]`; a scale below 0 counts as 0.
    ///
    /// # Errors
    /// [`Error::Weight`] for a scale that is not finite; [`Error::Format`] for another number of them.
    pub fn scaled(mut self, scales: Option<Vec<f32>>) -> Result<LexicalPart> {
        let Some(trained) = scales else { return Ok(self) };
        if trained.len() < self.scales.len() {
            let (expected, found) = (self.scales.len(), trained.len());
            let reason = format!("expected {expected} numbers, found {found}");
            return Err(Error::format("lexical.scale", reason));
        }
        if let Some((term, &weight)) = (0..).zip(&trained).find(|(_, scale)| !scale.is_finite()) {
            return Err(Error::Weight { term, weight });
        }
        self.scales.iter_mut().zip(trained).for_each(|(scale, own)| *scale *= own.max(0.0));
        Ok(self)
    }

    /// Its constants and a fingerprint of the terms it counts, as a short text that differs if they do.
    pub fn digest(&self) -> String {
        let bytes: Vec<u8> = match self.scales.iter().all(|&scale| scale == 0.0 || scale == 1.0) {
            true => self.scales.iter().map(|&scale| u8::from(scale > 0.0)).collect(),
            false => self.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
        };
        format!("{},terms={:08x}", self.lexical.digest(), crc32fast::hash(&bytes))
    }

    /// The lexical weight of each term of a document, terms ascending; `ids` are its tokens.
    pub fn of(&self, ids: &[u32]) -> Vec<(TermId, f32)> {
        let mut tf: BTreeMap<u32, u32> = BTreeMap::new();
        ids.iter().for_each(|&id| *tf.entry(id).or_default() += 1);
        let Lexical { weight, k1, b, length } = self.lexical;
        let usual = f64::from(length);
        let bm25 = Bm25 { k1, b };
        let scale = |term: u32| self.scales.get(term as usize).copied().unwrap_or(0.0);
        let impact = |tf| bm25.impact(weight, tf, ids.len() as u32, usual);
        tf.into_iter()
            .map(|(term, tf)| (TermId(term), scale(term) * impact(tf)))
            .filter(|(_, weight)| *weight > 0.0)
            .collect()
    }

    /// The sum of a network's weights of a document and these.
    ///
    /// # Errors
    /// [`Error::Weight`] if a sum is not finite.
    pub fn add(vector: &SparseVector, lexical: &[(TermId, f32)]) -> Result<SparseVector> {
        let mut sum: BTreeMap<TermId, f32> = vector.iter().collect();
        lexical.iter().for_each(|&(term, weight)| *sum.entry(term).or_default() += weight);
        SparseVector::new(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lexical: Lexical, table: Option<&QueryTable>) -> LexicalPart {
        let tokenizer = Tokenizer::load("testdata/toy".as_ref()).unwrap();
        LexicalPart::new(lexical, &tokenizer, table).unwrap()
    }

    #[test]
    fn a_term_weighs_by_how_often_it_comes() {
        let lexical = Lexical { length: 4.0, ..Lexical::of_weight(0.5) };
        let found = part(lexical, None).of(&[20, 10, 20, 30]);
        let once = 0.5; // at the usual length tf (k1 + 1) / (tf + k1) is 1
        let twice = 0.5 * 2.0 * 2.2 / 3.2;
        let expected = [(10, once), (20, twice), (30, once)];
        assert_eq!(found.len(), 3);
        for ((term, weight), (id, expected)) in found.into_iter().zip(expected) {
            assert!(term == TermId(id) && (weight - expected).abs() < 1e-6, "{term:?} {weight}");
        }
    }

    #[test]
    fn what_no_query_asks_for_gets_nothing() {
        let tokenizer = Tokenizer::load("testdata/toy".as_ref()).unwrap();
        let special = tokenizer.tokens("", 8).unwrap().ids;
        assert!(!special.is_empty());
        assert_eq!(part(Lexical::of_weight(0.5), None).of(&special), []);
        let mut weights = vec![1.0; tokenizer.vocabulary().len()];
        weights[10] = 0.0;
        let table = QueryTable::from_weights(weights).unwrap();
        let less = part(Lexical::of_weight(0.5), Some(&table));
        assert_ne!(less.digest(), part(Lexical::of_weight(0.5), None).digest());
        let found = less.of(&[10, 11]);
        assert_eq!(found.iter().map(|(term, _)| term.0).collect::<Vec<_>>(), [11]);
        assert_eq!(part(Lexical::of_weight(0.0), None).of(&[10, 11]), []);
    }

    #[test]
    fn a_trained_scale_multiplies_and_is_never_below_zero() {
        let plain = part(Lexical { length: 1.0, ..Lexical::of_weight(1.0) }, None);
        let terms = Tokenizer::load("testdata/toy".as_ref()).unwrap().vocabulary().len();
        let mut scales = vec![1.0; terms];
        (scales[20], scales[30]) = (0.25, -1.0);
        let scaled = plain.clone().scaled(Some(scales.clone())).unwrap();
        let weight = |part: &LexicalPart, id| part.of(&[id]).first().map(|&(_, weight)| weight);
        assert_eq!(weight(&scaled, 20).unwrap(), 0.25 * weight(&plain, 20).unwrap());
        assert_eq!((weight(&scaled, 30), weight(&scaled, 10)), (None, weight(&plain, 10)));
        assert_ne!(scaled.digest(), plain.digest());
        assert!(plain.clone().scaled(Some(vec![1.0; terms - 1])).is_err());
        scales[7] = f32::NAN;
        assert!(plain.scaled(Some(scales)).is_err());
    }

    #[test]
    fn a_weight_that_is_asked_for_goes_before_the_model_s_own() {
        let own = Lexical { b: 0.5, ..Lexical::of_weight(0.3) };
        assert_eq!(Lexical::or_of(Some(own), None), Some(own));
        assert_eq!(Lexical::or_of(Some(own), Some(0.7)), Some(Lexical { weight: 0.7, ..own }));
        assert_eq!(Lexical::or_of(None, Some(0.7)), Some(Lexical::of_weight(0.7)));
        assert_eq!(Lexical::or_of(Some(own), Some(0.0)), None);
        assert_eq!(Lexical::or_of(None, None), None);
    }

    #[test]
    fn parts_are_added_term_by_term() {
        let vector = SparseVector::new([(TermId(1), 0.25), (TermId(5), 1.0)]).unwrap();
        let sum = LexicalPart::add(&vector, &[(TermId(1), 0.5), (TermId(3), 2.0)]).unwrap();
        let expected = [(TermId(1), 0.75), (TermId(3), 2.0), (TermId(5), 1.0)];
        assert_eq!(sum, SparseVector::new(expected).unwrap());
    }

    #[test]
    fn constants_out_of_range_are_refused() {
        for bad in [
            Lexical { weight: -0.1, ..Lexical::of_weight(1.0) },
            Lexical { weight: f32::NAN, ..Lexical::of_weight(1.0) },
            Lexical { length: 0.0, ..Lexical::of_weight(1.0) },
            Lexical { b: 1.5, ..Lexical::of_weight(1.0) },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
