//! The code of the book in `docs/book`, compiled and run with the tests of the documentation.

macro_rules! chapters {
    ($($name:ident),*) => {
        $(
            #[doc = include_str!(concat!("../../docs/book/src/", stringify!($name), ".md"))]
            mod $name {}
        )*
    };
}

chapters!(
    start, your_model, config, adapters, training, gpt2, quantized, analysis, backends, errors,
    design
);
