//! zstd dictionaries: what makes many small values, each compressed by itself, about as small as all
//! of them compressed together.
//!
//! A frame's own header names its dictionary (RFC 8878, section 3.1.1.1.3), so a value needs nothing
//! beside its frame to say which one opens it. Here is what all shards of a store know of them;
//! where they are kept is `shard`'s business.

use super::seal::{open_alone, with_decompressor};
use super::{FormatError, Sealer};
use crate::model::{Codec, SealedValue, Version};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe;

/// Largest dictionary in bytes: what zstd's own tools make at most.
pub const DICTIONARY_SIZE_MAX: usize = 112 * 1024;

/// Values in a backup stand alone; they are read seldom and written once.
const ALONE: Sealer = Sealer {
    level: 3,
    probe_size: usize::MAX / 2,
    min_gain: 0.05,
};

/// The name of a dictionary in zstd's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DictionaryId(pub NonZeroU32);

impl DictionaryId {
    /// The dictionary that a payload is to be opened with; `None` for one that needs none.
    #[must_use]
    pub fn of_payload(codec: Codec, payload: &[u8]) -> Option<Self> {
        match codec {
            Codec::Raw | Codec::Chunks => None,
            Codec::Zstd => zstd_safe::get_dict_id_from_frame(payload).map(Self),
        }
    }

    /// The 4 bytes of a record's id, big-endian.
    #[must_use]
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.get().to_be_bytes())
    }

    /// Reads what [`DictionaryId::encode`] wrote.
    #[must_use]
    pub fn decode(id: &[u8]) -> Option<Self> {
        let number = u32::from_be_bytes(<[u8; 4]>::try_from(id).ok()?);
        NonZeroU32::new(number).map(Self)
    }
}

impl fmt::Display for DictionaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A dictionary, ready to open what was compressed with it.
pub struct Dictionary {
    id: DictionaryId,
    trained: Version,
    bytes: Bytes,
    decoder: DecoderDictionary<'static>,
}

impl Dictionary {
    /// A dictionary from its bytes. `trained` is the store's version counter when it was made: of
    /// two dictionaries, the one with the higher is the newer.
    ///
    /// # Errors
    /// `Magic` or `Field` for bytes that are no dictionary with a name.
    pub fn parse(bytes: Bytes, trained: Version) -> Result<Self, FormatError> {
        let what = "zstd dictionary";
        let id = zstd_safe::get_dict_id_from_dict(&bytes).ok_or(FormatError::Magic { what })?;
        let too_large = FormatError::Field {
            field: "dictionary size",
            value: bytes.len() as u64,
        };
        if bytes.len() > DICTIONARY_SIZE_MAX {
            return Err(too_large);
        }
        let decoder =
            DecoderDictionary::try_copy(&bytes).map_err(|_| FormatError::Magic { what })?;
        Ok(Self {
            id: DictionaryId(id),
            trained,
            bytes,
            decoder,
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> DictionaryId {
        self.id
    }

    /// The store's version counter when it was made.
    #[must_use]
    pub fn trained(&self) -> Version {
        self.trained
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("id", &self.id)
            .field("trained", &self.trained)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// A dictionary, ready to compress with at one level: some hundred KiB of tables, made once.
pub struct DictionaryEncoder {
    dictionary: Arc<Dictionary>,
    prepared: EncoderDictionary<'static>,
}

impl DictionaryEncoder {
    /// Prepares a dictionary for a level of zstd.
    #[must_use]
    pub fn new(dictionary: Arc<Dictionary>, level: i32) -> Self {
        let prepared = EncoderDictionary::copy(&dictionary.bytes, level);
        Self {
            dictionary,
            prepared,
        }
    }

    /// The dictionary.
    #[must_use]
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    pub(super) fn prepared(&self) -> &zstd_safe::CDict<'static> {
        self.prepared.as_cdict()
    }
}

impl fmt::Debug for DictionaryEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dictionary.fmt(f)
    }
}

/// The dictionaries of a store. Looking one up takes no lock.
#[derive(Debug, Default)]
pub struct Dictionaries(ArcSwap<BTreeMap<DictionaryId, Arc<Dictionary>>>);

impl Dictionaries {
    /// Makes a dictionary known; the one that is known stays where both have one name.
    ///
    /// # Errors
    /// `Field` when another one has its name.
    pub fn add(&self, dictionary: Arc<Dictionary>) -> Result<(), FormatError> {
        let id = dictionary.id;
        self.0.rcu(|known| {
            let mut known = BTreeMap::clone(known);
            known.entry(id).or_insert_with(|| dictionary.clone());
            known
        });
        match self.get(id) {
            Some(known) if known.bytes != dictionary.bytes => Err(FormatError::Field {
                field: "dictionary id",
                value: u64::from(id.0.get()),
            }),
            _ => Ok(()),
        }
    }

    /// The dictionary of a name.
    #[must_use]
    pub fn get(&self, id: DictionaryId) -> Option<Arc<Dictionary>> {
        self.0.load().get(&id).cloned()
    }

    /// The one that was trained last.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Dictionary>> {
        let known = self.0.load();
        known.values().max_by_key(|it| it.trained).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load().len()
    }

    /// The sum of a figure over all of them.
    pub fn sum(&self, figure: impl Fn(&Arc<Dictionary>) -> u64) -> u64 {
        self.0.load().values().map(figure).sum()
    }

    /// The raw value of a payload, whatever dictionary it was compressed with.
    ///
    /// # Errors
    /// `Dictionary` when its dictionary is not there; else as [`super::open_sealed`].
    pub fn open(&self, codec: Codec, payload: Bytes, raw_len: u64) -> Result<Bytes, FormatError> {
        let Some(id) = DictionaryId::of_payload(codec, &payload) else {
            return open_alone(codec, payload, raw_len);
        };
        let known = self.0.load();
        let dictionary = known.get(&id).ok_or(FormatError::Dictionary(id))?;
        with_decompressor(payload.len(), raw_len, |context, out| {
            context.decompress_using_ddict(out, &payload, dictionary.decoder.as_ddict())
        })
    }

    /// A stored value in a form that needs no dictionary; as it is where it has that form.
    ///
    /// # Errors
    /// As [`Dictionaries::open`].
    pub fn without(&self, value: SealedValue) -> Result<SealedValue, FormatError> {
        if DictionaryId::of_payload(value.codec, &value.payload).is_none() {
            return Ok(value);
        }
        let raw = self.open(value.codec, value.payload, value.info.raw_len)?;
        Ok(ALONE.seal(raw, value.info, value.digest))
    }
}
