//! The names of measures: read and written as ir_measures does.
//!
//! `NAME(key=value,…)@CUTOFF`. Capitals do not matter, and trec_eval's own names (`ndcg_cut_10`,
//! `recip_rank`, `P.5`) are understood too.

use std::{fmt, str::FromStr};

use super::measures::{Gain, Measure};
use crate::{
    error::{Error, Result},
    records::trec::Grade,
};

/// The least relevant grade unless `rel=` says otherwise.
const DEFAULT_REL: Grade = 1;

/// Names as ir_measures writes them, and their other names.
const NAMES: [(&str, &[&str]); 13] = [
    ("nDCG", &["ndcg_cut"]),
    ("RR", &["MRR", "recip_rank"]),
    ("AP", &["MAP", "map_cut"]),
    ("P", &["Precision"]),
    ("R", &["Recall"]),
    ("Success", &[]),
    ("Judged", &[]),
    ("Bpref", &[]),
    ("Rprec", &[]),
    ("NumQ", &["num_q"]),
    ("NumRet", &["num_ret"]),
    ("NumRel", &["num_rel"]),
    ("NumRelRet", &["num_rel_ret"]),
];

/// A parsed name; what is not given is `None`.
#[derive(Clone, Copy)]
struct Parts {
    name: &'static str,
    cutoff: Option<usize>,
    rel: Option<Grade>,
    gain: Option<Gain>,
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Measure> {
        let build = || {
            let parts = Parts::parse(text.trim())?;
            let measure = parts.measure()?;
            let taken = Parts::of(measure);
            let left = [
                ("cutoff", parts.cutoff.is_some() && taken.cutoff.is_none()),
                ("rel", parts.rel.is_some() && taken.rel.is_none()),
                ("dcg", parts.gain.is_some() && taken.gain.is_none()),
            ];
            match left.iter().find(|(_, left)| *left) {
                Some((what, _)) => Err(format!("{} takes no {what}", parts.name)),
                None => Ok(measure),
            }
        };
        build().map_err(|reason| Error::Usage(format!("measure `{text}`: {reason}")))
    }
}

impl Parts {
    fn parse(text: &str) -> Result<Parts, String> {
        let (head, cutoff) = split_cutoff(text);
        let (name, parameters) = match head.split_once('(') {
            None => (head, ""),
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or("expected a closing `)`")?),
        };
        let name = canonical(name).ok_or_else(|| unknown(name))?;
        let cutoff = cutoff.map(|text| from_1("the cutoff", text)).transpose()?;
        let mut parts = Parts { name, cutoff, rel: None, gain: None };
        for parameter in parameters.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches(['\'', '"']);
            match (key.trim(), value) {
                ("rel", _) => parts.rel = Some(from_1("rel", value)?),
                ("dcg", "log2") => parts.gain = Some(Gain::Grade),
                ("dcg", "exp-log2") => parts.gain = Some(Gain::Exponential),
                ("dcg", _) => {
                    return Err(format!("expected dcg 'log2' or 'exp-log2', found `{value}`"));
                }
                (key, _) => {
                    return Err(format!("expected the parameter rel or dcg, found `{key}`"));
                }
            }
        }
        Ok(parts)
    }

    fn measure(self) -> Result<Measure, String> {
        let Parts { name, cutoff, .. } = self;
        let rel = self.rel.unwrap_or(DEFAULT_REL);
        let needed = || cutoff.ok_or_else(|| format!("expected a cutoff, as in {name}@10"));
        Ok(match name {
            "nDCG" => Measure::Ndcg { gain: self.gain.unwrap_or(Gain::Grade), cutoff },
            "RR" => Measure::Rr { rel, cutoff },
            "AP" => Measure::Ap { rel, cutoff },
            "P" => Measure::P { rel, cutoff: needed()? },
            "R" => Measure::R { rel, cutoff: needed()? },
            "Success" => Measure::Success { rel, cutoff: needed()? },
            "Judged" => Measure::Judged { cutoff },
            "Bpref" => Measure::Bpref { rel },
            "Rprec" => Measure::Rprec { rel },
            "NumQ" => Measure::NumQ,
            "NumRel" => Measure::NumRel { rel },
            "NumRet" if self.rel.is_none() => Measure::NumRet,
            _ => Measure::NumRelRet { rel }, // ir_measures has NumRet(rel=1) as another name for it
        })
    }

    fn of(measure: Measure) -> Parts {
        let (name, cutoff, rel, gain) = match measure {
            Measure::Ndcg { gain, cutoff } => ("nDCG", cutoff, None, Some(gain)),
            Measure::Rr { rel, cutoff } => ("RR", cutoff, Some(rel), None),
            Measure::Ap { rel, cutoff } => ("AP", cutoff, Some(rel), None),
            Measure::P { rel, cutoff } => ("P", Some(cutoff), Some(rel), None),
            Measure::R { rel, cutoff } => ("R", Some(cutoff), Some(rel), None),
            Measure::Success { rel, cutoff } => ("Success", Some(cutoff), Some(rel), None),
            Measure::Judged { cutoff } => ("Judged", cutoff, None, None),
            Measure::Bpref { rel } => ("Bpref", None, Some(rel), None),
            Measure::Rprec { rel } => ("Rprec", None, Some(rel), None),
            Measure::NumQ => ("NumQ", None, None, None),
            Measure::NumRet => ("NumRet", None, None, None),
            Measure::NumRel { rel } => ("NumRel", None, Some(rel), None),
            Measure::NumRelRet { rel } => ("NumRelRet", None, Some(rel), None),
        };
        Parts { name, cutoff, rel, gain }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { name, cutoff, rel, gain } = Parts::of(*self);
        f.write_str(name)?;
        if let Some(rel) = rel.filter(|&rel| rel != DEFAULT_REL) {
            write!(f, "(rel={rel})")?;
        }
        if gain == Some(Gain::Exponential) {
            f.write_str("(dcg='exp-log2')")?;
        }
        cutoff.map_or(Ok(()), |cutoff| write!(f, "@{cutoff}"))
    }
}

/// What is before and after the `@`, or trec_eval's `_` or `.` before a number at the end.
fn split_cutoff(text: &str) -> (&str, Option<&str>) {
    if let Some((head, cutoff)) = text.split_once('@') {
        return (head, Some(cutoff));
    }
    let head = text.trim_end_matches(|c: char| c.is_ascii_digit());
    match head.strip_suffix(['_', '.']) {
        Some(name) if head.len() < text.len() => (name, Some(&text[head.len()..])),
        _ => (text, None),
    }
}

fn from_1<N: FromStr + PartialOrd + From<u8>>(what: &str, text: &str) -> Result<N, String> {
    let number = text.trim().parse().ok().filter(|number: &N| *number >= N::from(1));
    number.ok_or_else(|| format!("expected a whole number from 1 for {what}, found `{text}`"))
}

fn canonical(name: &str) -> Option<&'static str> {
    let same = |other: &&str| other.eq_ignore_ascii_case(name.trim());
    NAMES.iter().find(|(name, more)| same(name) || more.iter().any(same)).map(|(name, _)| *name)
}

fn unknown(name: &str) -> String {
    let known = NAMES.map(|(name, _)| name);
    let all = NAMES.iter().flat_map(|(name, more)| more.iter().map(|more| (*more, *name)));
    let all = all.chain(known.map(|name| (name, name)));
    let name = name.to_ascii_lowercase();
    let distance = |spelled: &str| strsim::levenshtein(&spelled.to_ascii_lowercase(), &name);
    let nearest = all.min_by_key(|(spelled, _)| distance(spelled)).map_or("", |near| near.1);
    format!("unknown; the nearest is {nearest}; known are {}", known.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, written: &str) {
        let measure: Measure = name.parse().unwrap();
        assert_eq!(measure.to_string(), written);
        assert_eq!(written.parse::<Measure>().unwrap(), measure);
    }

    #[track_caller]
    fn check_refused(name: &str, reason: &str) {
        let message = format!("measure `{name}`: {reason}");
        assert_eq!(name.parse::<Measure>().unwrap_err().to_string(), message);
    }

    #[test]
    fn names_are_those_of_ir_measures() {
        for name in ["nDCG", "nDCG@10", "nDCG(dcg='exp-log2')@5", "RR", "RR@10", "AP", "AP@100"] {
            check(name, name);
        }
        for name in ["P@5", "P(rel=2)@5", "R@100", "Success@1", "Judged@10", "Judged", "Bpref"] {
            check(name, name);
        }
        for name in ["Rprec", "NumQ", "NumRet", "NumRel(rel=2)", "NumRelRet", "RR(rel=3)@10"] {
            check(name, name);
        }
    }

    #[test]
    fn other_spellings_are_understood() {
        check("ndcg@10", "nDCG@10");
        check("nDCG(dcg=\"log2\")@10", "nDCG@10");
        check("MAP", "AP");
        check("MRR@10", "RR@10");
        check(" Recall( rel = 2 )@ 5 ", "R(rel=2)@5");
        check("bpref", "Bpref");
        check("P(rel=1)@5", "P@5");
        check("NumRet(rel=1)", "NumRelRet");
    }

    #[test]
    fn trec_eval_names_are_understood() {
        check("ndcg_cut_10", "nDCG@10");
        check("ndcg_cut.10", "nDCG@10");
        check("map_cut_5", "AP@5");
        check("map", "AP");
        check("recip_rank", "RR");
        check("recall.1000", "R@1000");
        check("P_5", "P@5");
        check("num_rel_ret", "NumRelRet");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let known =
            "known are nDCG RR AP P R Success Judged Bpref Rprec NumQ NumRet NumRel NumRelRet";
        check_refused("nDGC@10", &format!("unknown; the nearest is nDCG; {known}"));
        check_refused("Recal@10", &format!("unknown; the nearest is R; {known}"));
        check_refused("sucess@1", &format!("unknown; the nearest is Success; {known}"));
    }

    #[test]
    fn a_name_that_makes_no_sense_is_refused() {
        check_refused("P", "expected a cutoff, as in P@10");
        check_refused("R(rel=2)", "expected a cutoff, as in R@10");
        check_refused("nDCG@0", "expected a whole number from 1 for the cutoff, found `0`");
        check_refused("nDCG@ten", "expected a whole number from 1 for the cutoff, found `ten`");
        check_refused("P(rel=0)@5", "expected a whole number from 1 for rel, found `0`");
        check_refused("P(rel=2@5", "expected a closing `)`");
        check_refused("P(grade=2)@5", "expected the parameter rel or dcg, found `grade`");
        check_refused("nDCG(rel=2)@10", "nDCG takes no rel");
        check_refused("nDCG(dcg='ln')", "expected dcg 'log2' or 'exp-log2', found `ln`");
        check_refused("Bpref@10", "Bpref takes no cutoff");
        check_refused("AP(dcg='log2')", "AP takes no dcg");
    }
}
