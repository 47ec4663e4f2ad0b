use super::*;
use crate::testing::{assert_well_formed, history, run_metrics};
use crate::{Outcome, Stopped};

fn names() -> Vec<String> {
    ["negative", "<positive>"].map(String::from).to_vec()
}

fn outcome(right: usize, said: usize, probability: f64) -> Outcome {
    Outcome {
        right,
        said,
        probability,
    }
}

fn lengths() -> Vec<(&'static str, LengthSummary)> {
    let summary = LengthSummary {
        count: 1234,
        cut: 3,
        shortest: 2,
        longest: 7,
        mean: 4.5,
        buckets: vec![
            crate::data::LengthBucket {
                from: 1,
                to: 4,
                count: 1000,
            },
            crate::data::LengthBucket {
                from: 5,
                to: 8,
                count: 234,
            },
        ],
    };
    vec![("Training", summary.clone()), ("Development", summary)]
}

fn page(report: &Report<'_>) -> String {
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    let html = std::fs::read_to_string(folder.path().join(REPORT_NAME)).unwrap();
    assert_well_formed(&html);
    for outside in [
        "http:", "https:", "src=", "<link", "@import", "url(", "<script",
    ] {
        let found = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
    html
}

#[test]
fn a_classifier_has_every_section() {
    let mut metrics = run_metrics("models/<b>tiny</b>", 0.5);
    let evaluation = metrics.evaluation.as_mut().unwrap();
    evaluation.outcomes = vec![
        outcome(0, 1, 0.75),
        outcome(1, 1, 0.9),
        outcome(1, 0, 0.875),
        outcome(0, 0, 0.6),
    ];
    let texts = [
        "Not <script>alert(\"bad\")</script> & dull",
        "good",
        "warm",
        "dull",
    ]
    .map(String::from);
    let history = history(0.5);
    let html = page(&Report {
        metrics: &metrics,
        history: &history,
        lengths: &lengths(),
        classes: Some(Classes {
            names: &names(),
            texts: &texts,
        }),
    });
    for title in [
        "Curves",
        "Measurements",
        "Confusion matrix",
        "Mistakes",
        "Parameters",
        "Lengths of the data",
        "Settings",
    ] {
        assert!(html.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    // Nothing of a name or a text is HTML.
    assert!(html.contains("Not &lt;script&gt;alert(&quot;bad&quot;)&lt;/script&gt; &amp; dull"));
    assert!(html.contains("<dd>models/&lt;b&gt;tiny&lt;/b&gt;</dd>"));
    // The most confident mistake first, with its label, what was said and how sure.
    let warm = "<li><p>warm</p><p class=\"muted\">Example 3: said <strong>negative</strong> with \
                87.5 %, right is <strong>&lt;positive&gt;</strong></p></li>";
    let first = html.find(warm).unwrap();
    assert!(
        html[first..].contains("Example 1: said <strong>&lt;positive&gt;</strong> with 75.0 %")
    );
    assert!(!html.contains("<p>good</p>"));
    // Training loss, learning rate, gradient, two measures; two data sets.
    assert_eq!(html.matches("<svg role=\"img\" aria-label=").count(), 7);
    assert!(html.contains("1,234 sequences of 2 to 7 tokens, 4.5 on average; 3 were cut"));
}

#[test]
fn the_numbers_are_those_of_the_run() {
    let metrics = run_metrics("tiny", 0.8125);
    let history = history(0.8125);
    let html = page(&Report {
        metrics: &metrics,
        history: &history,
        lengths: &[],
        classes: None,
    });
    for text in [
        "<span class=\"value\">81.25 %</span> <span class=\"name\">accuracy</span>",
        "<span class=\"value\">0.3000</span> <span class=\"name\">loss</span>",
        "The final model on 16 development examples",
        "<dt>Took</dt><dd>12.5 s</dd>",
        "<dt>Peak memory</dt><dd>322 MB</dd>",
        "<dt>Speed</dt><dd>20.0 examples/s</dd>",
        "<dt>Steps</dt><dd>10</dd>",
        "<dt>Best step</dt><dd>10 (by loss)</dd>",
        "<time datetime=\"2026-02-03T04:05:06Z\">2026-02-03 04:05:06 UTC</time>",
        "<th scope=\"row\">LoRA factors</th><td>1,000</td><td>10.000 %</td>",
        "<th scope=\"row\">Trained in all</th><td>1,500</td><td>15.000 %</td>",
        "<tr><th scope=\"row\">5</th><td>1</td><td>0.7000</td><td>0.6000</td><td>50.00 %</td>",
        "<th scope=\"row\"><code>epochs</code></th><td>3</td>",
        "<th scope=\"row\"><code>r</code></th><td><strong>4</strong></td>",
    ] {
        assert!(html.contains(text), "no {text:?}");
    }
    // A task without classes and lengths has nothing on them.
    for title in ["Confusion matrix", "Mistakes", "Lengths of the data"] {
        assert!(!html.contains(title), "{title}");
    }
}

#[test]
fn numbers_from_a_file_have_no_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = run_metrics("tiny", 0.5);
    metrics.evaluation.as_mut().unwrap().outcomes = vec![outcome(0, 1, 0.75)];
    metrics.write(folder.path()).unwrap();
    let read = RunMetrics::read(folder.path()).unwrap();
    let history = history(0.5);
    let classes = Some(Classes {
        names: &names(),
        texts: &[],
    });
    let report = |metrics| {
        page(&Report {
            metrics,
            history: &history,
            lengths: &[],
            classes,
        })
    };
    assert!(report(&metrics).contains("(the text is not known)"));
    assert!(!report(&read).contains("Mistakes"));
}

#[test]
fn the_shortest_run_and_one_that_was_interrupted() {
    let mut metrics = run_metrics("tiny", 0.5);
    metrics.lora = None;
    metrics.evaluation = None;
    metrics.peak_rss_mb = None;
    metrics.best_step = None;
    metrics.evaluations.clear();
    metrics.step_losses.truncate(1);
    metrics.stopped = Some(Stopped::Interrupted {
        reason: Some("<SIGINT>".into()),
    });
    let mut history = history(0.5);
    history.steps.truncate(1);
    history.evaluations.clear();
    let report = |history: &History, metrics: &RunMetrics| {
        page(&Report {
            metrics,
            history,
            lengths: &[],
            classes: None,
        })
    };
    let html = report(&history, &metrics);
    assert!(html.contains("it was interrupted: &lt;SIGINT&gt;"));
    assert!(html.contains("<dt>Peak memory</dt><dd>–</dd>"));
    assert!(!html.contains("Measurements") && !html.contains("Adapters"));
    // The loss as it is and smoothed, the learning rate, the gradient.
    assert_eq!(html.matches("<circle").count(), 4);
    history.steps.clear();
    let nothing = "There is no finite value to draw.";
    assert_eq!(report(&history, &metrics).matches(nothing).count(), 3);
}

#[test]
fn a_measure_without_a_value_is_said_to_have_none() {
    let mut metrics = run_metrics("tiny", f64::NAN);
    let mut history = history(f64::NAN);
    for record in metrics
        .evaluations
        .iter_mut()
        .chain(&mut history.evaluations)
    {
        record.dev = [("loss", 0.5), ("accuracy", f64::NAN)].into();
    }
    metrics.examples_per_second = f64::NAN;
    let html = page(&Report {
        metrics: &metrics,
        history: &history,
        lengths: &[],
        classes: None,
    });
    assert!(html.contains("<span class=\"value\">n/a</span>"));
    assert_eq!(html.matches("There is no finite value to draw.").count(), 1);
    assert!(!html.contains("NaN"));
}

#[test]
fn many_classes_have_a_list_of_confusions() {
    let names: Vec<String> = (0..30).map(|class| format!("class {class}")).collect();
    let mut metrics = run_metrics("tiny", 0.5);
    let evaluation = metrics.evaluation.as_mut().unwrap();
    evaluation.outcomes = vec![outcome(3, 4, 0.5), outcome(28, 7, 0.5), outcome(28, 7, 0.5)];
    let html = page(&Report {
        metrics: &metrics,
        history: &history(0.5),
        lengths: &[],
        classes: Some(Classes {
            names: &names,
            texts: &[],
        }),
    });
    let often = "<tr><th scope=\"row\">class 28</th><td>class 7</td><td>2</td></tr>\n\
                 <tr><th scope=\"row\">class 3</th><td>class 4</td><td>1</td></tr>";
    assert!(html.contains(often), "{html}");
}
