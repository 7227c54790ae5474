//! The page in HTML.

use std::path::Path;
use std::time::SystemTime;

use fcn::palette::Class;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::chart::{hex, percent};
use super::photos::Photo;
use super::{PageFacts, Plot, SplitPixels, colors};
use crate::config::Config;
use crate::console::waiting;

/// The number of confusions listed.
const CONFUSIONS: usize = 10;

pub(super) fn page(facts: &PageFacts, curves: &[Plot], bars: &Markup, matrix: &Markup, diagram: &Markup) -> Markup {
    let name = run_name(&facts.run);
    let style = [&colors::definitions(), include_str!("page.css"), include_str!("chart.css")].concat();
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (name) " – training report" }
                // Browsers request an icon unless the page has one.
                link rel="icon" href="data:,";
                style { (PreEscaped(style)) }
            }
            body {
                (header(facts, &name))
                main {
                    section #curves {
                        h2 { "Training" }
                        @if curves.is_empty() {
                            p { "The run's folder has no points in metrics.csv." }
                        }
                        div.plots { @for plot in curves { div.panel { (plot.drawing) } } }
                    }
                    (classes(facts, bars))
                    (confusions(facts, matrix))
                    (confidence(facts, diagram))
                    (photos(facts))
                    (data(facts))
                    (settings(facts))
                }
                footer { "Written by trainer " (env!("CARGO_PKG_VERSION")) " on " (now) "." }
            }
        }
    }
}

fn header(facts: &PageFacts, name: &str) -> Markup {
    let (config, confusion) = (&facts.best.config, &facts.confusion);
    let seconds: f64 = facts.rows.iter().filter_map(|row| Some(row.train.as_ref()?.seconds)).sum();
    let measuring: f64 = facts.rows.iter().filter_map(|row| Some(row.val.as_ref()?.seconds)).sum();
    let [height, width] = [config.crop.0, config.crop.1];
    let (counted, all) = (confusion.classes_counted(), facts.best.classes.len());
    let tiles = [
        ("mIoU", percent(confusion.mean_iou()), format!("mean of {counted} of {all} classes, in truth or prediction")),
        ("Pixel accuracy", percent(confusion.pixel_accuracy()), "of labelled pixels".to_owned()),
        (
            "Mean accuracy",
            percent(confusion.mean_accuracy()),
            format!("mean of {} of {all} classes, in truth", confusion.classes_in_truth()),
        ),
        ("Weighted IoU", percent(confusion.frequency_weighted_iou()), "by share of pixels".to_owned()),
        epochs(facts),
        if facts.rows.is_empty() {
            ("Time", "–".to_owned(), "not recorded".to_owned())
        } else {
            ("Time", waiting(seconds + measuring), format!("{} of it validation", waiting(measuring)))
        },
    ];
    html! {
        header {
            h1 { (name) }
            p.soft {
                (facts.best.spec.name()) " on " (facts.data.file_name().unwrap_or_default().to_string_lossy()) ", "
                (facts.best.classes.len()) " classes, crops of " (height) " × " (width) " pixels (height × width), batch "
                (config.batch) ". Figures below are those of the " (measured(facts)) ", measured on the "
                (facts.val.photos) " photos of " (val_split(config)) ", each whole."
                @if let Some(decay) = config.ema {
                    " The run keeps an average of its weights (decay " (decay) "): validation measures that, the training "
                    "curves show the weights that learn."
                }
            }
            nav aria-label="Sections" {
                @for (id, title) in [
                    ("curves", "Training"), ("classes", "Classes"), ("confusions", "Confusions"), ("confidence", "Confidence"), ("photos", "Photos"),
                    ("data", "Data"), ("settings", "Settings"),
                ] { a href={ "#" (id) } { (title) } }
            }
            dl.tiles {
                @for (term, value, note) in &tiles { div { dt { (term) } dd { (value) small { (note) } } } }
            }
        }
    }
}

fn measured(facts: &PageFacts) -> &'static str {
    match facts.best.progress.best_miou {
        Some(_) => "best checkpoint",
        None => "newest checkpoint, because no validation has been done yet",
    }
}

/// The tile with the measured epoch and the run's progress.
fn epochs(facts: &PageFacts) -> (&'static str, String, String) {
    let (best, newest) = (&facts.best.progress, &facts.newest.progress);
    let end = if facts.newest.is_out_of_patience() { ", ended early" } else { "" };
    let title = if best.best_miou.is_some() { "Best epoch" } else { "Epochs done" };
    (title, best.epoch.to_string(), format!("{} of {} done{end}", newest.epoch, facts.best.config.epochs))
}

fn classes(facts: &PageFacts, bars: &Markup) -> Markup {
    let confusion = &facts.confusion;
    let number = |value: Option<f64>| value.map_or("–".to_owned(), percent);
    html! {
        section #classes {
            h2 { "Classes" }
            div.side {
                div.panel { (bars) }
                div.panel { div.scroll tabindex="0" role="region" aria-label="Table of classes" { table {
                    thead { tr {
                        th scope="col" { "Class" }
                        th.n scope="col" { "IoU" }
                        th.n scope="col" { "Accuracy" }
                        th.n scope="col" { "Precision" }
                        th.n scope="col" { "Of training" }
                        th.n scope="col" { "Of validation" }
                    } }
                    tbody { @for (index, class) in facts.best.classes.iter().enumerate() { tr {
                        th scope="row" { (key(class)) (class.name) }
                        td.n { (number(confusion.iou(index))) }
                        td.n { (number(confusion.accuracy(index))) }
                        td.n { (number(confusion.precision(index))) }
                        td.n { (percent(share(&facts.train, index))) }
                        td.n { (percent(share(&facts.val, index))) }
                    } } }
                } } }
            }
            p.soft style="margin-top:12px" {
                "Accuracy: of the pixels that truly are of the class, those found. Precision: of the pixels labelled so, "
                "those that are right. The last two columns: the class's share of the labelled pixels of each split."
            }
        }
    }
}

fn confidence(facts: &PageFacts, diagram: &Markup) -> Markup {
    let reliability = &facts.reliability;
    html! {
        section #confidence {
            h2 { "Confidence" }
            div.side {
                div.panel { (diagram) }
                div.panel {
                    p {
                        "Expected calibration error: " (percent(reliability.error())) ", the mean difference between the "
                        "confidence of pixels and the share of them that is right."
                    }
                    table {
                        caption { "If pixels below a threshold are left unknown" }
                        thead { tr {
                            th scope="col" { "Threshold" }
                            th.n scope="col" { "Right" }
                            th.n scope="col" { "Labelled" }
                        } }
                        tbody { @for share in [0.9, 0.95, 0.98, 0.99] {
                            @if let Some(threshold) = reliability.threshold(share) { tr {
                                th scope="row" { (format!("{:.3}", threshold.confidence)) }
                                td.n { (percent(threshold.accuracy)) }
                                td.n { (percent(threshold.kept)) }
                            } }
                        } }
                    }
                    p.soft style="margin-top:12px" {
                        "Before the temperature that trainer export --measure puts into the model card."
                    }
                }
            }
        }
    }
}

fn confusions(facts: &PageFacts, matrix: &Markup) -> Markup {
    let classes = &facts.best.classes;
    let shares = facts.shares();
    let cells = shares
        .iter()
        .enumerate()
        .flat_map(|(truth, row)| row.iter().enumerate().map(move |(prediction, &share)| (truth, prediction, share)));
    let mut pairs: Vec<_> = cells.filter(|(truth, prediction, share)| truth != prediction && *share >= 0.001).collect();
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
    pairs.truncate(CONFUSIONS);
    // Readable on a phone, and not oversized with few classes.
    let side = 36 * classes.len().min(24) + 140;
    html! {
        section #confusions {
            h2 { "Confusions" }
            div.side.even {
                div.panel { div.scroll tabindex="0" role="region" aria-label="Confusion matrix" {
                    div style={ "min-width:" (side) "px;max-width:" (side + 220) "px" } { (matrix) }
                } }
                div.panel {
                    table {
                        caption { "The most frequent" }
                        thead { tr {
                            th scope="col" { "Truth" }
                            th scope="col" { "Taken for" }
                            th.n scope="col" { "Of the truth" }
                        } }
                        tbody { @for (truth, prediction, share) in &pairs { tr {
                            th scope="row" { (key(&classes[*truth])) (classes[*truth].name) }
                            td { (key(&classes[*prediction])) (classes[*prediction].name) }
                            td.n { (percent(*share)) }
                        } } }
                    }
                    @if pairs.is_empty() { p.soft { "None above 0.1 %." } }
                }
            }
        }
    }
}

fn photos(facts: &PageFacts) -> Markup {
    let list = |title: &str, photos: &[Photo]| {
        html! {
            @if !photos.is_empty() { h3 style="font-size:17px;margin-top:18px" { (title) } }
            @for photo in photos { article.photo {
                h3 style="font-weight:500" {
                    (photo.id) span { "mIoU " (percent(photo.miou)) ", accuracy " (percent(photo.accuracy)) }
                }
                div.four { @for picture in &photo.pictures { figure {
                    img src=(picture.uri) alt=(picture.alt) width=(picture.width) height=(picture.height);
                    figcaption { (picture.caption) }
                } } }
            } }
        }
    };
    html! {
        section #photos {
            h2 { "Photos" }
            ul.keys { @for class in &facts.best.classes { li { (key(class)) (class.name) } } }
            (list("Highest mIoU", &facts.top))
            (list("Lowest mIoU", &facts.bottom))
        }
    }
}

fn data(facts: &PageFacts) -> Markup {
    let config = &facts.best.config;
    let splits =
        [("Training", config.train_split.clone(), &facts.train), ("Validation", val_split(config), &facts.val)];
    html! {
        section #data {
            h2 { "Data" }
            div.panel {
                p {
                    code { (facts.data.display()) }
                    @if facts.data != config.data { "; the run was begun with " code { (config.data.display()) } }
                }
                div.scroll tabindex="0" role="region" aria-label="Table of splits" { table {
                    thead { tr {
                        th scope="col" { "For" }
                        th scope="col" { "Split" }
                        th.n scope="col" { "Photos" }
                        th.n scope="col" { "Labelled pixels" }
                        th.n scope="col" { "Void" }
                    } }
                    tbody { @for (purpose, name, split) in splits { tr {
                        th scope="row" { (purpose) }
                        td { (name) }
                        td.n { (split.photos) }
                        td.n { (format!("{:.2} M", split.labelled() as f64 / 1e6)) }
                        td.n { (percent(split.void as f64 / (split.void + split.labelled()) as f64)) }
                    } } }
                } }
            }
        }
    }
}

fn settings(facts: &PageFacts) -> Markup {
    let Ok(Value::Object(config)) = serde_json::to_value(&facts.best.config) else { return html! {} };
    let rows: Vec<_> =
        config.iter().filter(|(name, _)| *name != "data").flat_map(|(name, value)| single(name, value)).collect();
    html! {
        section #settings {
            h2 { "Settings" }
            div.plots {
                @for rows in rows.chunks(rows.len().div_ceil(2)) { div.panel { table.settings {
                    tbody { @for (name, value) in rows { tr {
                        th scope="row" { (name) }
                        td.n { code { (value) } }
                    } } }
                } } }
            }
            h3 style="margin-top:22px" { "Sessions" }
            @if facts.sessions.is_empty() { p.soft { "The run's folder has no sessions.jsonl." } }
            @for session in &facts.sessions { div.panel style="margin-bottom:12px" {
                p style="margin-bottom:4px" {
                    (session.started) ", from step " (session.step) ", on " (session.device) ", " (session.system)
                    "; trainer " (session.trainer) ", libtorch " (session.libtorch)
                }
                code.command { @for word in &session.command { span { (word) } " " } }
            } }
        }
    }
}

/// A setting, or its parts, formatted for people.
fn single(name: &str, value: &Value) -> Vec<(String, String)> {
    let name = name.replace('_', " ");
    match value {
        Value::Object(parts) => {
            parts.iter().flat_map(|(part, value)| single(&format!("{name} {part}"), value)).collect()
        }
        _ => vec![(name, setting(value))],
    }
}

/// A setting's value formatted for people: `320, 480` for a pair.
fn setting(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "–".to_owned(),
        Value::Array(values) => values.iter().map(|value| setting(&rounded(value))).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match number.as_f64().map(|value| (value, value as f32)) {
            // Single-precision numbers print as given, not as their nearest double.
            Some((value, single)) if number.is_f64() && f64::from(single) == value => single.to_string(),
            _ => number.to_string(),
        },
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// A long number, such as a counted class weight, to four digits.
fn rounded(value: &Value) -> Value {
    let long = value.as_f64().filter(|number| number.to_string().len() > 8);
    long.and_then(|number| format!("{number:.3e}").parse::<f64>().ok()).map_or(value.clone(), Value::from)
}

fn key(class: &Class) -> Markup {
    html! { span.key style={ "background:" (hex(class.color)) } {} }
}

fn share(split: &SplitPixels, class: usize) -> f64 {
    split.pixels[class] as f64 / split.labelled() as f64
}

/// The folder's own name, even if it is given as `.`.
fn run_name(run: &Path) -> String {
    let path = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The location of the validation photos.
fn val_split(config: &Config) -> String {
    match config.val_share {
        Some(share) => format!("the split {}, of which {share} was held out", config.train_split),
        None => format!("the split {}", config.val_split),
    }
}
