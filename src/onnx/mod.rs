//! The model file: ONNX's own messages, and the model card.

mod card;

pub use card::ModelCard;
