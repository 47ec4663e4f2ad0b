use super::*;
use crate::chart::PALETTE;
use crate::testing::{assert_well_formed, run_metrics};

fn runs() -> Vec<(String, RunMetrics)> {
    let lora = run_metrics("a", 0.75);
    let mut full = run_metrics("b", 0.875);
    full.method = "full".into();
    full.parameters.lora = 10_000;
    full.parameters.frozen = 0;
    full.seconds = 75.0;
    full.peak_rss_mb = None;
    full.examples_per_second = 8.25;
    vec![("small".into(), lora), ("the <large> one".into(), full)]
}

#[test]
fn the_table_is_aligned_and_marks_the_best() {
    let comparison = Comparison::of(&runs(), None).unwrap();
    assert_eq!(comparison.metric, "accuracy");
    let expected = "\
run              method  trainable   % of all   best accuracy   last accuracy     loss          time   examples/s   peak MB   steps
small            lora         1500*    15.000*        75.00 %         75.00 %   0.3000        12.5 s*        20.0*      322      10
the <large> one  full        10500    100.000         87.50 %*        87.50 %*  0.3000   1 min 15 s          8.2         –      10
* the best of its column";
    let table = comparison.to_string();
    let trimmed = |text: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    };
    assert_eq!(trimmed(&table), trimmed(expected), "{table}");
    // The marks stand below each other.
    let lines: Vec<Vec<char>> = table.lines().map(|line| line.chars().collect()).collect();
    let steps = lines[0].len();
    assert!(
        lines[1].len() == steps && lines[2].len() == steps,
        "{table}"
    );
    assert!(!table.contains('\u{1b}'));
    let bold = comparison.table(true);
    assert!(bold.contains("\u{1b}[1m87.50 %\u{1b}[0m*"), "{bold}");
    let plain = bold.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    assert_eq!(plain, table);
}

#[test]
fn less_loss_is_better() {
    let mut runs = runs();
    runs[0].1.evaluations[1].dev = [("loss", 0.25), ("accuracy", f64::NAN)].into();
    let comparison = Comparison::of(&runs, Some("loss")).unwrap();
    assert!(!comparison.greater_is_better);
    assert_eq!(
        (comparison.runs[0].best, comparison.runs[1].best),
        (0.25, 0.3)
    );
    let header = comparison.to_string();
    assert_eq!(header.lines().next().unwrap().matches("loss").count(), 2);
    // A value that is not defined is no better than one that is.
    let accuracy = Comparison::of(&runs, Some("accuracy")).unwrap();
    assert_eq!(accuracy.runs[0].best, 0.5);
    assert!(accuracy.runs[0].last.is_nan());
    assert!(accuracy.to_string().lines().nth(1).unwrap().contains('–'));
}

#[test]
fn a_measure_that_a_run_lacks_is_an_error_that_names_those_it_has() {
    let mut runs = runs();
    for record in &mut runs[1].1.evaluations {
        record.dev = [("loss", 3.0), ("perplexity", 20.0)].into();
    }
    assert_eq!(Comparison::of(&runs, None).unwrap().metric, "loss");
    let error = Comparison::of(&runs, Some("accuracy"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot compare: the run the <large> one has no measure \"accuracy\", only loss, perplexity"
    );
    runs[0].1.evaluations.clear();
    let error = Comparison::of(&runs, None).unwrap_err().to_string();
    assert!(error.contains("small has no measurement"), "{error}");
    assert!(Comparison::of(&[], None).is_err());
}

#[test]
fn folders_are_read_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a/run", "b/run", "other"].map(|name| folder.path().join(name));
    for (path, (_, metrics)) in paths.iter().zip(runs().iter().cycle()) {
        std::fs::create_dir_all(path).unwrap();
        metrics.write(path).unwrap();
    }
    let comparison = Comparison::read(&paths, None).unwrap();
    let names: Vec<&str> = comparison
        .runs
        .iter()
        .map(|run| run.name.as_str())
        .collect();
    let full = |index: usize| paths[index].to_str().unwrap();
    assert_eq!(names, [full(0), full(1), "other"]);
    let error = Comparison::read(&[folder.path()], None).unwrap_err();
    assert!(error.to_string().contains("metrics.json"), "{error}");
}

#[test]
fn picture_page_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let comparison = Comparison::of(&runs(), None).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let path = |name: &str| folder.path().join(name);

    comparison.write_svg(&path("compare.svg")).unwrap();
    let svg = read("compare.svg");
    assert_well_formed(&svg);
    for text in [
        "Development accuracy",
        "accuracy (%)",
        "the &lt;large&gt; one",
        "step",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    // A line for each run and one in the legend, in colours of their own; shapes of their own.
    for (color, _) in &PALETTE[..2] {
        let lines = svg.split('<').filter(|tag| tag.starts_with("polyline"));
        assert_eq!(lines.filter(|tag| tag.contains(color)).count(), 2);
    }
    assert_eq!(
        (
            svg.matches("<circle").count(),
            svg.matches("<polygon").count()
        ),
        (3, 3)
    );

    comparison.write_html(&path("compare.html")).unwrap();
    let html = read("compare.html");
    assert_well_formed(&html);
    assert!(html.contains("<th scope=\"row\">the &lt;large&gt; one</th>"));
    assert!(html.contains("<span class=\"best\">87.50 %&nbsp;*</span>"));

    comparison.write_json(&path("compare.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&read("compare.json")).unwrap();
    assert_eq!(
        (&json["metric"], &json["runs"][1]["best"]),
        (&"accuracy".into(), &0.875.into())
    );
    assert_eq!(json["runs"][1]["peak_rss_mb"], serde_json::Value::Null);
}
