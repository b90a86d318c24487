//! A document as a model encodes it.

use std::ops::Deref;

use crate::{
    error::{Error, Result},
    sparse::SparseVector,
    text::DocumentFrequencies,
};

/// A document's vector, with the word pieces that the collection's statistics count.
///
/// It is used like a [`SparseVector`]. One made [from](From) a vector alone has no word pieces.
///
/// ```
/// let document = l0::Model::shipped()?.encode("The moon pulls the water of the oceans.")?;
/// assert!(document.nnz() > 3);
/// let vector: l0::SparseVector = document.into_vector();
/// # Ok::<(), l0::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedDocument {
    vector: SparseVector,
    /// Ascending, each once; `None` if they are not known.
    pieces: Option<Vec<u32>>,
}

impl EncodedDocument {
    /// From a text with these token ids, without special ones.
    pub(super) fn new(vector: SparseVector, ids: impl IntoIterator<Item = u32>) -> EncodedDocument {
        let mut pieces: Vec<u32> = ids.into_iter().collect();
        pieces.sort_unstable();
        pieces.dedup();
        EncodedDocument { vector, pieces: Some(pieces) }
    }

    /// The vector alone.
    pub fn into_vector(self) -> SparseVector {
        self.vector
    }

    /// Adds the word pieces to the counts of a collection.
    ///
    /// # Errors
    /// [`Error::Usage`] if they are not known.
    pub(super) fn count(&self, counted: &mut DocumentFrequencies) -> Result<()> {
        let Some(pieces) = &self.pieces else {
            return Err(Error::Usage(
                "expected a document that the model encoded, found a vector alone: query weights of this model \
                 need the word pieces of the collection"
                    .into(),
            ));
        };
        counted.add(pieces.iter().copied());
        Ok(())
    }

    /// Whether the word pieces are known.
    pub(super) fn has_pieces(&self) -> bool {
        self.pieces.is_some()
    }
}

impl Deref for EncodedDocument {
    type Target = SparseVector;

    fn deref(&self) -> &SparseVector {
        &self.vector
    }
}

impl From<SparseVector> for EncodedDocument {
    fn from(vector: SparseVector) -> EncodedDocument {
        EncodedDocument { vector, pieces: None }
    }
}
