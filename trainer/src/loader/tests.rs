use std::collections::BTreeSet;

use super::*;
use crate::augment::Normalisation;
use crate::data::tests::Folder;

/// Seven photos, `a` to `g`, of growing size: 8 x 6, 9 x 7, ... pixels (width x height).
fn seven() -> Folder {
    let folder = Folder::new();
    let ids = ["a", "b", "c", "d", "e", "f", "g"];
    for (i, id) in (0u32..).zip(ids) {
        folder.photo(id, 8 + i, 6 + i, |x, y| [x as u8 * 10, y as u8 * 10, i as u8 * 30]);
        folder.mask(id, 8 + i, 6 + i, |x, y| ((x + y + i) % 21) as u8);
    }
    folder.split(&ids);
    folder
}

fn open(folder: &Folder) -> Arc<Dataset> {
    Arc::new(Dataset::open(folder.root(), "train").unwrap())
}

fn augment() -> Arc<Augment> {
    let normalise = Normalisation { mean: [0.5; 3], std: [0.25; 3] };
    Arc::new(Augment { scale: (0.5, 2.0), flip: true, ..Augment::crops((6, 8), normalise) })
}

const PLAN: Plan = Plan { batch: 2, workers: 1, seed: 5, drop_small: false, drop_last: false, rank: Rank::ALONE };

fn batches(dataset: &Arc<Dataset>, plan: &Plan, number: u64, first_step: usize) -> Vec<Batch> {
    epoch(dataset, &augment(), plan, number, first_step).map(|batch| batch.unwrap()).collect()
}

fn ids(batches: &[Batch]) -> Vec<&str> {
    batches.iter().flat_map(|batch| &batch.ids).map(String::as_str).collect()
}

#[test]
fn an_epoch_has_every_photo_once() {
    let folder = seven();
    let batches = batches(&open(&folder), &PLAN, 0, 0);
    assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [2, 2, 2, 1]);
    for batch in &batches {
        assert_eq!((batch.h, batch.w, batch.ids.len()), (6, 8, batch.n));
        assert_eq!((batch.images.len(), batch.labels.len()), (batch.n * 3 * 48, batch.n * 48));
    }
    assert_eq!(ids(&batches).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["a", "b", "c", "d", "e", "f", "g"]));
}

#[test]
fn batches_depend_on_seed_and_epoch_alone() {
    let folder = seven();
    let dataset = open(&folder);
    let whole = batches(&dataset, &PLAN, 3, 0);
    for workers in [1, 2, 3, 5, 16] {
        for first_step in 0..=5 {
            let plan = Plan { workers, ..PLAN };
            let rest = batches(&dataset, &plan, 3, first_step);
            assert_eq!(rest, whole[first_step.min(4)..], "{workers} workers from step {first_step}");
        }
    }
    assert_ne!(ids(&batches(&dataset, &PLAN, 4, 0)), ids(&whole), "another epoch, another order");
    assert_ne!(ids(&batches(&dataset, &Plan { seed: 6, ..PLAN }, 3, 0)), ids(&whole), "another seed, another order");
}

#[test]
fn ranks_divide_each_batch() {
    let folder = seven();
    let dataset = open(&folder);
    // Batches of 3, 3 and 1 photos.
    let whole = Plan { batch: 3, ..PLAN };
    let all = batches(&dataset, &whole, 2, 0);
    for of in [2, 3] {
        let parts: Vec<Vec<Batch>> = (0..of)
            .map(|number| batches(&dataset, &Plan { rank: Rank { number, of }, ..whole.clone() }, 2, 0))
            .collect();
        for (step, batch) in all.iter().enumerate() {
            let ids: Vec<&String> = parts.iter().flat_map(|part| &part[step].ids).collect();
            assert_eq!(ids, batch.ids.iter().collect::<Vec<_>>(), "step {step} of {of} ranks");
            let images: Vec<f32> = parts.iter().flat_map(|part| &part[step].images).copied().collect();
            assert_eq!(images, batch.images, "step {step} of {of} ranks");
        }
    }
}

#[test]
fn a_photo_changes_from_epoch_to_epoch() {
    let folder = seven();
    folder.split(&["g"]);
    let dataset = open(&folder);
    let of = |epoch, seed| batches(&dataset, &Plan { seed, ..PLAN }, epoch, 0).remove(0).images;
    assert_eq!(of(0, 1), of(0, 1));
    assert_ne!(of(0, 1), of(1, 1));
    assert_ne!(of(0, 1), of(0, 2));
}

#[test]
fn dropping_the_last_batch() {
    let folder = seven();
    let dataset = open(&folder);
    let plan = Plan { drop_last: true, ..PLAN };
    let epoch = epoch(&dataset, &augment(), &plan, 0, 1);
    assert_eq!((epoch.photos(), epoch.steps()), (7, 3));
    assert_eq!(epoch.map(|batch| batch.unwrap().n).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((plan.steps(7), PLAN.steps(7), PLAN.steps(8)), (3, 4, 4));
}

#[test]
fn small_photos_can_be_left_out() {
    let folder = seven();
    let dataset = open(&folder);
    let plan = Plan { drop_small: true, ..PLAN };
    // e is 12 x 10, d 11 x 9: only d's height is too small.
    let augment = Arc::new(Augment { crop: (10, 11), scale: (1.0, 1.0), ..*augment() });
    let epoch = epoch(&dataset, &augment, &plan, 0, 0);
    assert_eq!((epoch.photos(), epoch.steps()), (3, 2));
    let batches: Vec<Batch> = epoch.map(|batch| batch.unwrap()).collect();
    assert_eq!(ids(&batches).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["e", "f", "g"]));
    assert!(batches.iter().all(|batch| !batch.labels.contains(&crate::data::VOID)), "no crop was padded");
}

#[test]
fn plans_that_cannot_work_say_why() {
    let folder = seven();
    let dataset = open(&folder);
    let augment = *augment();
    let cases = [
        (
            Augment { crop: (13, 14), ..augment },
            Plan { drop_small: true, ..PLAN },
            "none of the 7 photos is as large as the crop of 13 x 14 pixels (height x width); choose a smaller crop",
        ),
        (
            augment,
            Plan { batch: 8, drop_last: true, ..PLAN },
            "7 photos do not fill one batch of 8; choose a smaller batch",
        ),
        (augment, Plan { batch: 0, ..PLAN }, "a batch of 0 on 1 workers cannot be made; both must be at least 1"),
        (
            augment,
            Plan { rank: Rank { number: 0, of: 3 }, ..PLAN },
            "a batch of 2 cannot be divided among 3 ranks; choose a batch of at least 3, or fewer devices",
        ),
        (augment, Plan { workers: 0, ..PLAN }, "a batch of 2 on 0 workers cannot be made; both must be at least 1"),
        (Augment { crop: (0, 8), ..augment }, PLAN, "the crop is 0 x 8 pixels; both sides must be at least 1"),
        (
            Augment { scale: (2.0, 0.5), ..augment },
            PLAN,
            "the scale goes from 2 to 0.5; both must be 0.01 to 100, the first not above the second",
        ),
        (
            Augment { scale: (0.5, f32::NAN), ..augment },
            PLAN,
            "the scale goes from 0.5 to NaN; both must be 0.01 to 100, the first not above the second",
        ),
    ];
    for (augment, plan, message) in cases {
        let items: Vec<_> = epoch(&dataset, &Arc::new(augment), &plan, 0, 0).collect();
        assert_eq!(items, [Err(Error::new(message))]);
    }
}

#[test]
fn an_error_arrives_in_place_of_its_batch() {
    let folder = seven();
    let dataset = open(&folder);
    let whole = batches(&dataset, &PLAN, 0, 0);
    let place = whole.iter().position(|batch| batch.ids.iter().any(|id| id == "d")).unwrap();
    let mask = folder.write("SegmentationClass/d.png", "broken");
    for workers in [1, 3] {
        let items: Vec<_> = epoch(&dataset, &augment(), &Plan { workers, ..PLAN }, 0, 0).collect();
        assert_eq!(items.len(), 4);
        for (step, item) in items.iter().enumerate() {
            match item {
                Ok(batch) => assert_eq!(batch, &whole[step]),
                Err(error) => {
                    assert_eq!(step, place);
                    assert!(error.0.starts_with(&format!("{} cannot be read", mask.display())), "{error}");
                }
            }
        }
        assert!(items[place].is_err());
    }
}

#[test]
fn dropping_an_epoch_ends_its_workers() {
    let folder = seven();
    let dataset = open(&folder);
    let mut epoch = epoch(&dataset, &augment(), &Plan { batch: 1, workers: 3, ..PLAN }, 0, 0);
    epoch.next().unwrap().unwrap();
    assert!(Arc::strong_count(&dataset) > 1, "workers hold the data set");
    drop(epoch);
    assert_eq!(Arc::strong_count(&dataset), 1, "workers have ended");
}
