//! `fettle-eval cmapss` as a person or an acceptance test meets it: files in, figures or a clear message out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fettle_models::train::random::Random;

/// Small enough to train in a moment.
const RECIPE: &str = r#"{"time_constants":[2,6,18],"baseline_steps":5,"hidden":[12],"training":{"epochs":12},"folds":3,"repeats":1,
    "trees":{"count":12,"depth":3,"rate":0.3,"share":0.5}}"#;

/// How a file differs from a clean one.
#[derive(Clone, Copy)]
struct Dirt {
    /// Channels are a + b x.
    a: f64,
    b: f64,
    /// Whether rows come twice, late and not at all, units have other names, and blank lines stand between.
    disturbed: bool,
}

const CLEAN: Dirt = Dirt { a: 0.0, b: 1.0, disturbed: false };

/// A fleet in two operating states whose channels drift ever faster towards the failure.
fn fleet(units: usize, cut: bool, seed: u64, dirt: Dirt) -> (String, String) {
    let mut random = Random::new(seed);
    let (mut rows, mut truth) = (String::new(), String::new());
    for unit in 1..=units {
        let life = 100 + random.below(80);
        let end = if cut { 40 + random.below(life - 45) } else { life };
        let start = random.normal();
        let mut late = String::new();
        for cycle in 1..=end {
            let wear = 30.0 * (-((life - cycle) as f64) / 40.0).exp();
            let state = random.below(2) as f64;
            let mut line = match dirt.disturbed {
                true => format!("engine-{} {}", 7 * unit + 1000, cycle + 500),
                false => format!("{unit} {cycle}"),
            };
            let _ = write!(line, " {:.4} {:.4} 100.0", 35.0 * state + 0.001 * random.normal(), 0.84 * state);
            for channel in 0..21 {
                let way = [1.0, -1.0, 0.5, 0.0][channel % 4];
                let x = 500.0 - 100.0 * state + start + way * wear + random.normal();
                let x = if channel % 5 == 4 { 100.0 } else { x };
                let _ = write!(line, " {:.4}", dirt.a + dirt.b * x);
            }
            line.push('\n');
            match random.below(25) {
                0 if dirt.disturbed && cycle > 20 && cycle < end => {}
                1 if dirt.disturbed => late.push_str(&line),
                2 if dirt.disturbed => rows += &(line.clone() + &line + "\n"),
                _ => rows += &line,
            }
        }
        rows += &late;
        let _ = writeln!(truth, "{}", life - end);
    }
    (rows, truth)
}

fn folder(dirt: Dirt) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("train_FD009.txt", &fleet(24, false, 1, dirt).0);
    let (test, truth) = fleet(20, true, 2, dirt);
    put("test_FD009.txt", &test);
    put("RUL_FD009.txt", &truth);
    put("recipe.json", RECIPE);
    folder
}

fn run(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fettle-eval"));
    command.arg("cmapss").arg(folder).args(["--seeds", "1", "--skip-without-age", "--jobs", "1"]);
    if folder.join("recipe.json").exists() {
        command.arg("--recipe").arg(folder.join("recipe.json"));
    }
    command.args(more).output().unwrap()
}

fn json(folder: &Path, more: &[&str]) -> serde_json::Value {
    let file = folder.join("out.json");
    let output = run(folder, &[more, &["--json", file.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn refused(folder: &Path, more: &[&str]) -> String {
    let output = run(folder, more);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_figure_asked_for_is_there_and_better_than_saying_the_mean() {
    let folder = folder(CLEAN);
    let page = folder.path().join("out.html");
    let json = json(folder.path(), &["--cross-validate", "2", "--html", page.to_str().unwrap()]);
    let set = &json["sets"]["FD009"];
    for name in ["rmse_capped", "rmse_uncapped", "score_capped", "coverage", "width", "seconds_train", "us_infer"] {
        assert!(set[name].as_f64().is_some_and(|v| v >= 0.0), "{name}: {}", set[name]);
    }
    assert!(set["rmse_capped"].as_f64().unwrap() < 22.0, "{}", set["rmse_capped"]);
    assert!(set["cross_validated"]["rmse_capped"].as_f64().unwrap() < 25.0);
    assert_eq!(set["training"]["regimes"], 2);
    assert_eq!(set["seeds"].as_array().unwrap().len(), 1);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && !page.contains("http"), "self-contained");
    assert!(!page.contains("NaN"), "every point has a place");
}

#[test]
fn other_scales_names_and_disturbed_rows_change_little() {
    let clean = json(folder(CLEAN).path(), &[]);
    let scaled = json(folder(Dirt { a: -3e4, b: 40.0, ..CLEAN }).path(), &[]);
    let disturbed = json(folder(Dirt { disturbed: true, ..CLEAN }).path(), &[]);
    let rmse = |json: &serde_json::Value| json["sets"]["FD009"]["rmse_capped"].as_f64().unwrap();
    assert!((rmse(&scaled) - rmse(&clean)).abs() < 1.0, "{} {}", rmse(&clean), rmse(&scaled));
    assert!((rmse(&disturbed) - rmse(&clean)).abs() < 3.0, "{} {}", rmse(&clean), rmse(&disturbed));
    let lines = &disturbed["sets"]["FD009"]["train_lines"];
    for name in ["duplicates", "out_of_order", "gaps"] {
        assert!(lines[name].as_u64().unwrap() > 0, "{name}: {lines}");
    }
    assert_eq!(lines["lines"].as_u64(), Some(lines["used"].as_u64().unwrap() + lines["duplicates"].as_u64().unwrap()));
}

#[test]
fn without_a_truth_predictions_are_counted_and_the_reason_is_said() {
    let folder = folder(CLEAN);
    fs::remove_file(folder.path().join("RUL_FD009.txt")).unwrap();
    let set = &json(folder.path(), &[])["sets"]["FD009"];
    assert!(set["rmse_capped"].is_null() && set["predicted"].as_u64().unwrap() > 500);
    assert!(set["reason"].as_str().unwrap().contains("no RUL file"), "{}", set["reason"]);
    fs::write(folder.path().join("RUL_FD009.txt"), "1\n2\n").unwrap();
    let set = &json(folder.path(), &[])["sets"]["FD009"];
    assert!(set["reason"].as_str().unwrap().contains("2 lines for 20 test units"), "{}", set["reason"]);
}

#[test]
fn what_cannot_be_used_is_named_with_file_and_line() {
    let bad = folder(CLEAN);
    assert!(refused(&bad.path().join("nowhere"), &[]).contains("cannot list"));
    assert!(refused(bad.path(), &["--set", "FD001"]).contains("holds FD009"));
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path(), &[]).contains("no train_"));
    fs::write(empty.path().join("train_FD001.txt"), "").unwrap();
    assert!(refused(empty.path(), &[]).contains("train_FD001.txt holds no usable row"));
    fs::write(empty.path().join("train_FD001.txt"), [0x1F, 0x8B, 8, 0]).unwrap();
    assert!(refused(empty.path(), &[]).contains("cannot read"));
    fs::write(bad.path().join("RUL_FD009.txt"), "12\nseventeen\n").unwrap();
    let message = refused(bad.path(), &[]);
    assert!(message.contains("RUL_FD009.txt") && message.contains("line 2"), "{message}");
    fs::write(bad.path().join("train_FD009.txt"), "1 1 2 3\n1 2 x\n").unwrap();
    let message = refused(bad.path(), &[]);
    assert!(message.contains("train_FD009.txt") && message.contains("line 1: 4 columns instead of 26"), "{message}");
    fs::write(bad.path().join("train_FD009.txt"), fleet(3, false, 1, CLEAN).0).unwrap();
    fs::remove_file(bad.path().join("RUL_FD009.txt")).unwrap();
    assert!(refused(bad.path(), &[]).contains("3 lives are too few"));
    fs::write(bad.path().join("recipe.json"), r#"{"training":{"epoch":3}}"#).unwrap();
    assert!(refused(bad.path(), &[]).contains("epoch"));
}

#[test]
fn a_few_bad_lines_are_counted_and_the_rest_is_used() {
    let folder = folder(CLEAN);
    let path = folder.path().join("train_FD009.txt");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("unit cycle\n{text}\n1 7 nonsense\n")).unwrap();
    let lines = &json(folder.path(), &[])["sets"]["FD009"]["train_lines"];
    assert_eq!(lines["first_unusable"], "line 1: 2 columns instead of 26");
    assert_eq!(lines["unusable"]["3 columns instead of 26"], 1);
}
