//! The recipes of `pipelines/cluster`: one corpus by many processes, under every scheduler the same
//! bytes as by one; and many indexes asked as one.

use std::{os::unix::fs::symlink, path::Path};

use crate::support::{Need, Run, Work, has_tool, python, run, skipped};

const ONE: &str = "l0-encode --quiet --model testdata/toy corpus.jsonl";
const OPTIONS: &str = "corpus.jsonl -- --model testdata/toy --quiet --threads 1";

/// 50 documents as `corpus.jsonl`, `pipelines`, and what one process makes of them, `one.parquet`.
fn scene() -> Work {
    let work = Work::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    symlink(root.join("pipelines"), work.path("pipelines")).unwrap();
    let line = format!(
        "head -50 testdata/demo/corpus.jsonl > corpus.jsonl; {ONE} -o one.parquet; {ONE} -o one.jsonl"
    );
    run(work.shell(&line), b"").exits(0);
    work
}

#[track_caller]
fn sh(work: &Work, line: &str) -> Run {
    run(work.shell(&format!("set -o pipefail; {line}")), b"")
}

/// The parts in `folder` are sound, and joined they are `one.parquet`.
#[track_caller]
fn is_whole(work: &Work, folder: &str) {
    let join = format!(
        "l0-encode join $(pipelines/cluster/parts.sh {folder}) -o {folder}.parquet --quiet"
    );
    sh(work, &join).exits(0).silent();
    assert!(
        work.read(&format!("{folder}.parquet")) == work.read("one.parquet"),
        "{folder} differs"
    );
}

#[test]
#[ignore = "slow: many processes"]
fn xargs_encodes_in_parts_what_one_process_encodes() {
    let work = scene();
    let line = format!("pipelines/cluster/xargs.sh 3 parts {OPTIONS}");
    sh(&work, &line).exits(0);
    is_whole(&work, "parts");
    // as JSON lines, the parts are interleaved by paste
    sh(&work, &format!("L0_FORM=jsonl pipelines/cluster/xargs.sh 4 lines {OPTIONS}")).exits(0);
    let paste = "paste -d '\\n' $(pipelines/cluster/parts.sh lines) | grep . | cmp - one.jsonl";
    sh(&work, paste).exits(0);
    sh(
        &work,
        "l0-encode join $(pipelines/cluster/parts.sh lines) --format jsonl | cmp - one.jsonl",
    )
    .exits(0);
    // more parts than rows
    sh(&work, &format!("L0_JOBS=4 pipelines/cluster/xargs.sh 53 many {OPTIONS}")).exits(0);
    is_whole(&work, "many");
}

#[test]
#[ignore = "slow: many processes"]
fn gnu_parallel_encodes_in_parts_what_one_process_encodes() {
    if !has_tool("parallel") {
        return;
    }
    let work = scene();
    sh(&work, &format!("pipelines/cluster/parallel.sh 3 parts {OPTIONS}")).exits(0);
    is_whole(&work, "parts");
    // a stream in blocks, in its order
    let blocks = "parallel --pipe --block 2k --keep-order --jobs 2 \
                  l0-encode --quiet --model testdata/toy --threads 1 --format jsonl";
    sh(&work, &format!("{blocks} < corpus.jsonl | cmp - one.jsonl")).exits(0);
    // what is refused is refused by the whole
    let bad = "echo '{bad' > bad.jsonl; pipelines/cluster/parallel.sh 2 bad bad.jsonl -- --quiet";
    assert!(!matches!(sh(&work, bad).says("bad.jsonl:1").status(), Some(0)));
}

#[test]
#[ignore = "slow: many processes"]
fn a_slurm_array_encodes_in_parts_what_one_process_encodes() {
    let work = scene();
    // Slurm runs a copy of the script from a folder of its own
    sh(&work, "mkdir spool; cp pipelines/cluster/slurm.sh spool/slurm_script").exits(0);
    let script = work.text("spool/slurm_script");
    let array = script.lines().find_map(|line| line.strip_prefix("#SBATCH --array=0-")).unwrap();
    let last: usize = array.parse().unwrap();
    let task = |id: usize, count: usize| {
        format!(
            "SLURM_SUBMIT_DIR=$PWD SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_COUNT={count} \
             SLURM_ARRAY_TASK_MIN=0 SLURM_CPUS_PER_TASK=1 SLURM_PROCID=0 \
             bash spool/slurm_script parts corpus.jsonl -- --model testdata/toy --quiet"
        )
    };
    for id in (0..=last).filter(|&id| id != 3) {
        sh(&work, &task(id, last + 1)).exits(0);
    }
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("expected part-00003-of-00016");
    // the one that is missing, again and alone: Slurm then counts an array of one
    sh(&work, &task(3, 1)).exits(0);
    is_whole(&work, "parts");
    sh(&work, &task(last + 1, 1)).exits(2).says("expected a part from 0 to 15");
}

#[test]
#[ignore = "slow: many processes"]
fn a_kubernetes_job_is_one_of_batch_v1_and_encodes_what_one_process_encodes() {
    let work = scene();
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encode/kubernetes.py");
    let check = |file: &str| sh(&work, &format!("{} {} {file}", python(), check.display()));
    let made = check("pipelines/cluster/kubernetes.yaml");
    if made.status() == Some(77) {
        return skipped(Need::Tool("py:yaml"), made.stderr().trim());
    }
    let job: serde_json::Value = serde_json::from_slice(made.exits(0).stdout()).unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let completions = job["spec"]["completions"].as_u64().unwrap();
    let shards = &container["env"][0];
    assert_eq!(shards["name"], "L0_SHARDS");
    assert_eq!(shards["value"], completions.to_string(), "the parts are the completions");
    let words = |key: &str| -> Vec<String> {
        let words = container[key].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    // the pods of the Job, on this machine's paths
    let line = [words("command"), words("args")].concat().join(" ");
    let line = line.replace("/opt/l0/", "").replace("/data/", "");
    for index in 0..completions {
        let pod = format!("JOB_COMPLETION_INDEX={index} L0_SHARDS={completions} {line}");
        sh(&work, &format!("{pod} --model testdata/toy")).exits(0);
    }
    is_whole(&work, "parts");

    let sound = work.text("pipelines/cluster/kubernetes.yaml");
    for (from, to, message) in [
        ("completionMode", "completionsMode", "no field completionsMode"),
        ("completions: 16", "completions: \"16\"", "expected int"),
        ("value: \"16\"", "value: 16", "expected str"),
        ("values: [2, 3]", "values: 2", "expected a list"),
        ("restartPolicy: Never", "restartPolicy: Always", "restartPolicy Never"),
        ("name: data\n              mountPath", "name: other\n              mountPath", "volumes"),
        ("batch/v1", "batch/v2", "Job of batch/v1"),
    ] {
        assert!(sound.contains(from), "{from}");
        work.write("bad.yaml", sound.replace(from, to));
        check("bad.yaml").exits(1).says(message);
    }
    typed_by_kubectl(&work);
}

/// kubectl reads a manifest into the types of its API, without a cluster; what they lack it drops.
fn typed_by_kubectl(work: &Work) {
    let set = "kubectl set env --local -f pipelines/cluster/kubernetes.yaml L0_FORM=jsonl -o json";
    let typed = sh(work, set);
    if typed.status() == Some(127) {
        return skipped(Need::Tool("kubectl"), "no kubectl");
    }
    let typed: serde_json::Value = serde_json::from_slice(typed.exits(0).stdout()).unwrap();
    let spec = &typed["spec"];
    assert_eq!(spec["completionMode"], "Indexed", "{typed}");
    assert_eq!(spec["backoffLimitPerIndex"], 3, "{typed}");
    assert_eq!(spec["podFailurePolicy"]["rules"].as_array().unwrap().len(), 2, "{typed}");
}

#[test]
#[ignore = "slow: Spark"]
fn spark_encodes_on_two_cores_what_one_process_encodes() {
    let work = scene();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let line = format!(
        "{} {}/tests/encode/spark.py corpus.jsonl one.parquet \"$PWD/testdata/toy\" {}/pipelines/cluster/spark.py",
        python(),
        root.display(),
        root.display()
    );
    let ran = sh(&work, &line);
    if ran.status() == Some(77) {
        return skipped(Need::Tool("py:pyspark"), ran.stderr().lines().last().unwrap_or_default());
    }
    ran.exits(0).prints("50 rows");
    sh(&work, "cat spark.jsonl/part-* | cmp - one.jsonl").exits(0);
    // and its files are read by the next stage
    let index = "l0-index --quiet --tokenizer testdata/toy";
    let ask = "testdata/demo/queries.jsonl -k 20 --format trec";
    let line = format!(
        "{index} one.parquet -o one.l0x; {index} spark.parquet/part-* -o spark.l0x; \
         cmp <(l0-query one.l0x {ask}) <(l0-query spark.l0x {ask})"
    );
    sh(&work, &line).exits(0);
}

#[test]
#[ignore = "slow: many processes"]
fn a_part_is_made_once_goes_on_after_a_kill_and_is_never_taken_for_another() {
    let work = scene();
    let part = |index: usize, more: &str| {
        format!(
            "L0_SHARDS=2 L0_SHARD_INDEX={index} pipelines/cluster/part.sh parts {OPTIONS} {more}"
        )
    };
    sh(&work, &part(0, "")).exits(0);
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("expected part-00001-of-00002");
    sh(&work, &part(1, "")).exits(0);
    is_whole(&work, "parts");
    let first = "parts/part-00000-of-00002";

    // finished: not made again
    let made = std::fs::metadata(work.path(&format!("{first}.parquet"))).unwrap();
    sh(&work, &part(0, "")).exits(0).silent();
    let again = std::fs::metadata(work.path(&format!("{first}.parquet"))).unwrap();
    assert_eq!(made.modified().unwrap(), again.modified().unwrap());
    // killed before the manifest was there
    std::fs::remove_file(work.path(&format!("{first}.sha256"))).unwrap();
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("unfinished");
    sh(&work, &part(0, "")).exits(0);
    is_whole(&work, "parts");
    // damaged: reported, and made again
    let bytes = work.read(&format!("{first}.parquet"));
    work.write(&format!("{first}.parquet"), &bytes[..bytes.len() - 9]);
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("not as it was written");
    sh(&work, &part(0, "")).exits(0).says("making it again");
    is_whole(&work, "parts");
    // made twice at the same time
    let held = format!("flock parts/.part-00000-of-00002.lock bash -c '{}'", part(0, ""));
    if has_tool("flock") {
        sh(&work, &held).exits(1).says("another process makes this part");
    }
    // other options, another corpus
    sh(&work, &part(0, "--prune top_k:4")).exits(3).says("take another FOLDER");
    sh(&work, "head -1 corpus.jsonl >> corpus.jsonl").exits(0);
    sh(&work, &part(0, "")).exits(3).says("take another FOLDER");
    // a part of another corpus among them
    sh(&work, &format!("rm {first}.*; {}", part(0, ""))).exits(0);
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("other inputs");
    // two sets of parts
    let three = part(1, "").replace("L0_SHARDS=2", "L0_SHARDS=3");
    sh(&work, &three).exits(0);
    sh(&work, "pipelines/cluster/parts.sh parts").exits(1).says("several");
    sh(&work, "mkdir none; pipelines/cluster/parts.sh none").exits(1).says("found none");
}

#[test]
fn a_part_says_what_it_wants() {
    let work = scene();
    for (environment, arguments, message) in [
        ("", "parts corpus.jsonl", "expected L0_SHARDS=N"),
        ("L0_SHARDS=0", "parts corpus.jsonl", "expected L0_SHARDS=N"),
        ("L0_SHARDS=2", "parts corpus.jsonl", "expected a part from 0 to 1"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=2", "parts corpus.jsonl", "expected a part from 0 to 1"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=01", "parts corpus.jsonl", "expected a part from 0 to 1"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=x", "parts corpus.jsonl", "expected a part from 0 to 1"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=0", "parts", "expected FOLDER INPUT"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=0", "parts -- --quiet", "expected at least one INPUT"),
        ("L0_SHARDS=2 L0_SHARD_INDEX=0", "parts none.jsonl", "found `none.jsonl`"),
        (
            "L0_SHARDS=2 L0_SHARD_INDEX=0 L0_BY=lines",
            "parts corpus.jsonl",
            "expected L0_BY=rows or files",
        ),
        (
            "L0_SHARDS=2 L0_SHARD_INDEX=1 L0_BY=files",
            "parts corpus.jsonl",
            "expected at least 2 inputs",
        ),
    ] {
        let line = format!(
            "env -u SLURM_ARRAY_TASK_ID {environment} pipelines/cluster/part.sh {arguments}"
        );
        sh(&work, &line).exits(2).says(message);
    }
    assert!(!work.names().contains(&"parts".to_owned()), "a refusal makes nothing");
}

#[test]
#[ignore = "slow: many processes"]
fn a_corpus_of_files_is_dealt_out_by_file() {
    let work = scene();
    sh(&work, "split -l 10 corpus.jsonl c. --additional-suffix=.jsonl").exits(0);
    let line =
        "L0_BY=files pipelines/cluster/xargs.sh 2 parts c.*.jsonl -- --model testdata/toy --quiet";
    sh(&work, line).exits(0);
    // the first part has files 0, 2 and 4
    let expected = "cat c.aa.jsonl c.ac.jsonl c.ae.jsonl c.ab.jsonl c.ad.jsonl > dealt.jsonl; \
                    l0-encode dealt.jsonl --model testdata/toy --quiet -o dealt.parquet";
    sh(&work, expected).exits(0);
    let index = "l0-index --quiet --tokenizer testdata/toy";
    let line = format!(
        "{index} $(pipelines/cluster/parts.sh parts) -o a.l0x; {index} dealt.parquet -o b.l0x; cmp a.l0x b.l0x"
    );
    sh(&work, &line).exits(0);
}

#[test]
#[ignore = "slow: many processes"]
fn the_indexes_of_the_parts_are_asked_as_one() {
    let work = scene();
    sh(&work, &format!("pipelines/cluster/xargs.sh 3 parts {OPTIONS}")).exits(0);
    let index = "l0-index --quiet --tokenizer testdata/toy --weights f32";
    let line = format!(
        "for part in $(pipelines/cluster/parts.sh parts); do {index} $part -o ${{part%.parquet}}.l0x; done; \
         {index} $(pipelines/cluster/parts.sh parts) -o all.l0x; \
         l0-index merge --quiet parts/*.l0x -o merged.l0x && cmp merged.l0x all.l0x"
    );
    sh(&work, &line).exits(0);
    let ask = "testdata/demo/queries.jsonl -k 20 --format jsonl";
    let several = "$(printf -- '--index %s ' parts/*.l0x)";
    let line =
        format!("l0-query {several} {ask} > a; l0-query all.l0x {ask} > b; cmp a b; wc -l < a");
    sh(&work, &line).exits(0).prints("60");
    // each asked on a machine of its own, the answers merged by their scores
    let line = "for index in parts/*.l0x; do \
                l0-query $index testdata/demo/queries.jsonl -k 20 --format trec; done | \
                pipelines/cluster/merge_runs.sh 20 > fan.run; \
                l0-query all.l0x testdata/demo/queries.jsonl -k 20 --format trec | \
                LC_ALL=C sort -s -k1,1 | cmp - fan.run";
    sh(&work, line).exits(0);
    let hits = work.text("a");
    assert!(hits.matches(r#""score""#).count() > 300, "{hits}");
}

#[test]
fn parts_that_are_no_shards_of_one_input_are_not_joined() {
    let work = scene();
    let line = "for at in 0 1 2; do l0-encode --quiet --model testdata/toy --shard $at/3 corpus.jsonl -o $at.parquet; \
                l0-encode --quiet --model testdata/toy --shard $at/3 corpus.jsonl -o $at.jsonl; done; \
                l0-encode --quiet --model testdata/toy-old --shard 1/3 corpus.jsonl -o other.parquet";
    sh(&work, line).exits(0);
    let bytes = work.read("1.parquet");
    work.write("cut.parquet", &bytes[..bytes.len() / 2]);
    work.write("bad.jsonl", "{\"_id\":\"x\",\"indices\":[3],\"values\":[-1]}\n");
    work.write(
        "text.jsonl",
        "{\"_id\":\"x\",\"indices\":[3],\"values\":[1]}\n\
         {\"_id\":\"y\",\"indices\":[3],\"values\":[1],\"text\":\"told\"}\n",
    );
    work.write("out.parquet", "as it was");
    for (parts, status, message) in [
        ("2.parquet 1.parquet 0.parquet", 3, "2.parquet: shard: expected 0/3"),
        (
            "0.parquet 1.parquet",
            3,
            "0.parquet: shard: expected 0/2, being number 0 of 2 parts, found 0/3",
        ),
        ("0.parquet 1.parquet 1.parquet", 3, "1.parquet: shard: expected 2/3"),
        ("0.parquet", 3, "expected 0/1"),
        ("one.parquet one.parquet", 3, "found a file that does not say"),
        ("0.parquet other.parquet 2.parquet", 3, "what made the vectors"),
        ("0.parquet 1.jsonl 2.parquet", 3, "a file that does not say"),
        ("0.jsonl 1.jsonl 2.jsonl", 2, "expected --format jsonl"),
        ("0.parquet cut.parquet 2.parquet", 1, "cut.parquet"),
        ("0.parquet none.parquet", 1, "none.parquet"),
        ("corpus.jsonl --format jsonl", 1, "corpus.jsonl:1"),
        ("bad.jsonl --format jsonl", 1, "bad.jsonl:1"),
        ("0.jsonl text.jsonl --format jsonl", 1, "text.jsonl: row 2 has a text"),
        ("", 2, "PARTS"),
    ] {
        let line = format!("l0-encode join {parts} -o out.parquet");
        sh(&work, &line).exits(status).says(message);
        assert_eq!(work.text("out.parquet"), "as it was", "{parts}");
    }
    sh(&work, "l0-encode join 0.parquet 1.parquet 2.parquet -o out.parquet")
        .exits(0)
        .says("50 rows of 3 parts");
    assert!(work.read("out.parquet") == work.read("one.parquet"));
    // texts that were kept, a part alone, an Arrow stream
    let line = "l0-encode --quiet --model testdata/toy corpus.jsonl --keep-text -o kept.parquet; \
                for at in 0 1; do l0-encode --quiet --model testdata/toy corpus.jsonl --keep-text --shard $at/2 -o k$at.arrow; done; \
                l0-encode join k0.arrow k1.arrow -o k.parquet --quiet && cmp k.parquet kept.parquet; \
                l0-encode join one.parquet --quiet --format jsonl | cmp - one.jsonl";
    sh(&work, line).exits(0);
}
