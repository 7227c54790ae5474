//! Which class is the background: the model card takes precedence over class names.

#[path = "common/models.rs"]
mod models;
#[path = "common/truth.rs"]
mod truth;

use fcn::{
    Segmenter,
    onnx::ModelCard,
    palette::{Palette, voc_color},
};
use models::{Spec, card, model};
use prost::Message;
use truth::options;

/// A network with five classes of these names; with a card that sets this background, if there is
/// one.
fn segmenter(names: [&str; 5], background: Option<Option<u8>>, palette: Option<Palette>) -> fcn::Result<Segmenter> {
    let mut network = model(Spec { card: background.is_some(), ..Spec::default() });
    let mut options = options(None);
    options.palette = palette;
    match background {
        None => options.class_names = Some(names.map(String::from).to_vec()),
        Some(background) => {
            let mut card = ModelCard { background, ..card(5, 8) };
            card.classes.iter_mut().zip(names).for_each(|(class, name)| class.name = name.to_owned());
            network.metadata_props[0].value = Some(card.to_json());
        }
    }
    Segmenter::from_memory(&network.encode_to_vec(), &options)
}

#[test]
fn the_card_says_which_class_is_the_background() {
    struct Case {
        names: [&'static str; 5],
        card: Option<Option<u8>>,
        background: Option<u8>,
    }
    let sorted = ["aeroplane", "background", "bird", "boat", "car"];
    let first = ["background", "aeroplane", "bird", "boat", "car"];
    let none = ["road", "sky", "car", "tree", "person"];
    for Case { names, card, background } in [
        Case { names: sorted, card: Some(Some(1)), background: Some(1) },
        // The card takes precedence over names; without an entry in the card, the names decide.
        Case { names: first, card: Some(Some(3)), background: Some(3) },
        Case { names: none, card: Some(Some(4)), background: Some(4) },
        Case { names: sorted, card: Some(None), background: Some(1) },
        Case { names: first, card: Some(None), background: Some(0) },
        Case { names: none, card: Some(None), background: None },
        // Without a card, only class 0 can be the background.
        Case { names: first, card: None, background: Some(0) },
        Case { names: sorted, card: None, background: None },
        Case { names: none, card: None, background: None },
    ] {
        let found = segmenter(names, card, None).unwrap().background();
        assert_eq!(found, background, "{names:?} {card:?}");
    }
    let error = segmenter(sorted, Some(Some(5)), None).err().unwrap().to_string();
    assert!(error.contains("class 5 as the background; its classes are 0 to 4"), "{error}");
}

#[test]
fn palettes_by_name_make_the_background_black() {
    let names = ["aeroplane", "background", "bird", "boat", "car"];
    let segmenter = segmenter(names, Some(Some(1)), Some(Palette::Voc)).unwrap();
    let colors: Vec<_> = segmenter.classes().iter().map(|class| class.color).collect();
    assert_eq!(colors, [1, 0, 2, 3, 4].map(voc_color));
}

#[test]
fn cards_without_it_are_read_and_written_as_before() {
    let json = card(5, 8).to_json();
    assert!(!json.contains("\"background\":"), "{json}");
    assert_eq!(serde_json::from_str::<ModelCard>(&json).unwrap(), card(5, 8));
    let with = ModelCard { background: Some(1), ..card(5, 8) };
    assert_eq!(serde_json::from_str::<ModelCard>(&with.to_json()).unwrap(), with);
}
