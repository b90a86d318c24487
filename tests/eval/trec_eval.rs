//! Every digit that trec_eval 10 prints for the fixture is the digit that l0 prints.
use std::{collections::BTreeMap, fs, path::Path};

use l0::internal::{
    eval::{Detail, Format, IdenticalIds, Measure, evaluate, render},
    io::Input,
    records::{
        rejects::Rejects,
        trec::{Qrels, Run},
    },
};

#[test]
fn prints_what_trec_eval_prints() {
    let folder = Path::new("testdata/trec");
    let open = |name| Input::open(&folder.join(name)).unwrap();
    let qrels = Qrels::read(open("qrels"), &mut Rejects::stop()).unwrap();
    let run = Run::read(open("run"), &mut Rejects::stop()).unwrap();
    let expected = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let expected = by_query_and_measure(&expected);

    let names = expected.keys().filter(|(query, _)| *query == "all").map(|(_, measure)| measure);
    let measures: Vec<Measure> = names.map(|name| name.parse().unwrap()).collect();
    let scores = evaluate(&qrels, &run, &measures, IdenticalIds::Keep).unwrap();
    let mut printed = Vec::new();
    render(&mut printed, &[scores], Format::Text, Detail::PerQuery).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let printed = by_query_and_measure(&printed);

    assert_eq!(expected.len(), 316);
    for (key, value) in &expected {
        assert_eq!(printed.get(key), Some(value), "{key:?}");
    }
}

fn by_query_and_measure(text: &str) -> BTreeMap<(&str, &str), &str> {
    text.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            ((columns[0], columns[1]), columns[2])
        })
        .collect()
}
