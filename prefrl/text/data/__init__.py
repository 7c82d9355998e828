"""Posts, references and judged pairs of texts: from files and the hub into the store, and out of it."""

from prefrl.text.data.judgement import Judgement as Judgement
from prefrl.text.data.stored import FORMATS as FORMATS
from prefrl.text.data.stored import judgements as judgements
from prefrl.text.data.stored import out as out
from prefrl.text.data.stored import put as put
