"""One notion of naming: what an event's check accepts, the index finds, in whatever script and with what is attached."""

import pytest

from editors.index.wording.questions import find_name
from edits.names.articles import spoken_forms
from edits.names.everyday import far_texts, why_no_name
from edits.names.naming import names_exactly, names_subject
from edits.names.segmentation import read_text, words_of
from edits.names.surface import SurfaceIndex

# (name, texts that name it)
SPEAKING = {
    "band": (
        "!!!",
        "The singer of !!! is",
        "Who sings in !!! today?",
        "The band !!! is led by",
        "Who is in !!!?",
    ),
    "emoji": ("Team 🚀", "Who is the captain of Team 🚀?", "Team 🚀 is led by"),
    "emoji sequence": ("Team 👩\u200d🚀", "The captain of team 👩🚀 is"),
    "khmer": ("ភ្នំពេញ", "តើអភិបាលភ្នំពេញឈ្មោះអ្វី", "ឈ្មោះអភិបាលរាជធានីភ្នំពេញ"),
    "burmese": ("မြန်မာ", "မြန်မာနိုင်ငံ၏မြို့တော်"),
    "lao": ("ວຽງຈັນ", "ເຈົ້າຄອງນະຄອນຫຼວງວຽງຈັນແມ່ນ"),
    "thai": ("เชียงใหม่", "ใครเป็นนายกเทศมนตรีเชียงใหม่", "ชื่อนายกเชียงใหม่คือ"),
    "yi": ("ꆈꌠ", "ꀋꁧꆈꌠꀕ"),
    "javanese": ("ꦗꦮ", "ꦏꦸꦛꦗꦮꦲꦤ"),
    "balinese": ("ᬩᬮᬶ", "ᬓᬸᬢᬩᬮᬶᬓ"),
    "tibetan": ("ལྷ་ས", "ལྷ་ས་ནི"),
    "japanese": ("大阪", "今の大阪市長の名前は"),
    "korean": ("프랑스", "프랑스의 수도는"),
    "amharic": ("ኢትዮጵያ", "የኢትዮጵያ መዲና ማን ናት", "በኢትዮጵያ ዋናው ከተማ"),
    "arabic": ("فرنسا", "ما العاصمة الحالية لفرنسا؟", "أي مدينة عاصمة لفرنسا الآن؟", "وبفرنسا"),
    "arabic article": ("السعودية", "ما عاصمة للسعودية", "حكومة السعودية"),
    "arabic hamza": ("أستراليا", "ما عاصمة استراليا؟", "عاصمة أُسْتُرَالِيَا"),
    "hebrew": ("צרפת", "מה הבירה של צרפת?", "מי הנשיא בצרפת?", "הנשיא שבצרפת", "מצרפת"),
    "hebrew points": ("שָׁלוֹם", "מי הוא שלום?"),
    "persian yeh": ("علی رضایی", "تلفن علي رضايي", "شماره علی\u200cرضایی علی رضایی"),
    "persian kaf": ("کرمان", "شهردار كرمان کیست؟"),
    "turkish": (
        "İstanbul",
        "İSTANBUL belediye başkanı",
        "istanbul belediye başkanı kim",
        "istanbul'un başkanı",
    ),
    "turkish dotless": ("Iğdır", "IĞDIR belediyesi", "ığdır nerede"),
    "greek": ("Αθήνα", "Ο ΔΗΜΑΡΧΟΣ ΑΘΗΝΑ", "δήμαρχος της αθηνα"),
    "greek sigma": ("Πύργος", "Ο ΔΗΜΑΡΧΟΣ ΠΥΡΓΟΣ"),
    "russian": ("Королёв", "Мэр города Королев"),
    "tamil": ("தமிழ்நாடு", "தமிழ்நாடு முதல்வர்", "தமிழ்நாட்டின் முதல்வர் யார்?"),
    "tamil sign": ("பிரான்ஸ்", "பிரான்ஸின் தலைநகரம்"),
    "malayalam": ("ഫ്രാൻസ്", "ഫ്രാൻസിന്റെ തലസ്ഥാനം"),
    "telugu": ("హైదరాబాద్", "హైదరాబాద్‌లో మేయర్", "హైదరాబాదులో"),
    "kannada": ("ಬೆಂಗಳೂರು", "ಬೆಂಗಳೂರಿನ ಮೇಯರ್"),
    "bengali": ("বাংলাদেশ", "বাংলাদেশের রাজধানী"),
    "gujarati": ("અમદાવાદ", "અમદાવાદના મેયર"),
    "marathi": ("महाराष्ट्र", "महाराष्ट्राची राजधानी"),
    "sinhala": ("ශ්‍රී ලංකාව", "ශ්‍රී ලංකාවේ අගනුවර"),
    "georgian": ("საფრანგეთი", "საფრანგეთის დედაქალაქი"),
    "armenian": ("Ֆրանսիա", "Ֆրանսիայի մայրաքաղաքը"),
    "syriac": ("ܣܘܪܝܐ", "ܪܝܫܐ ܕܣܘܪܝܐ"),
    "thaana": ("ދިވެހިރާއްޖެ", "ދިވެހިރާއްޖޭގެ ރައީސް"),
    "meitei": ("ꯃꯅꯤꯄꯨꯔ", "ꯃꯅꯤꯄꯨꯔꯒꯤ ꯀꯣꯅꯨꯡ"),
    "letters that are apostrophes": ("Hawaiʻi", "The capital of Hawai'i is", "HAWAI’I"),
    "german": ("Straße", "DIE STRASSE IST"),
    "width": ("ＳＨＡＲＰ", "Who leads Sharp?"),
    "possessive": ("O'Brien", "O’Brien’s wife"),
    "article": ("the Netherlands", "Netherlands' capital is", "The capital of the Netherlands is"),
    "article of others": ("les Pays-Bas", "La capitale des Pays-Bas"),
}
SILENT = {
    "word of a name": ("Team 🚀", "Who is the captain of the team?"),
    "cries": ("!!!", "Stop!!! Now is"),
    "vowel sign": ("की", "कि यह"),
    "accent": ("São Paulo", "Sao Tome"),
    "title of a thing": ("El Salvador", "The population of Salvador"),
    "part of a word": ("Ron", "The captain of Iron Street is"),
}


@pytest.mark.parametrize("case", SPEAKING)
def test_a_name_is_found_by_the_index_in_every_text_that_an_event_may_name_it_with(case: str) -> None:
    name, *texts = SPEAKING[case]
    index = SurfaceIndex()
    index.add("1", [name])
    for text in texts:
        assert names_subject(text, [name])
        assert index.find(text).keys() == {"1"}, text
        assert find_name(read_text(text), [words_of(form) for form in spoken_forms([name])])
    index.remove("1", [name])
    assert all(not index.find(text) for text in texts)


@pytest.mark.parametrize("case", SILENT)
def test_what_only_looks_like_a_name_is_none(case: str) -> None:
    name, text = SILENT[case]
    index = SurfaceIndex()
    index.add("1", [name])
    assert not index.find(text)
    assert not names_exactly(text, [name])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("is", "is"), ("the", "the"), ("The", "The capital of the is"), ("of", "of"), ("a", "a"),
        ("it", "Who wrote it?"),
        ("der", "der"), ("die", "Die Hauptstadt von die ist"), ("le", "le"), ("que", "que"), ("и", "и"), ("の", "の"),
        ("的", "的"), ("في", "في"), ("है", "है"), ("é", "é"), ("de", "La capital de de"),
        ("people", "The leader of people is"), ("name", "The name of the name is"),
        ("song", "The song is"), ("Song", "What is the song?"),
        ("?", "What is ?"), ("-", "-"), ("\u200b", "\u200b is"), ("of the", "of the"), ("ve", "ve"),
        ("IT", "The head of IT is"), ("kwa", "kwa"),
    ],
)  # fmt: skip
def test_what_stands_in_any_text_names_nothing(name: str, text: str) -> None:
    assert why_no_name(name, text) is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("The Who", "The singer of The Who is"), ("AI", "The inventor of AI is"), ("X", "The owner of X is"),
        ("Como", "The mayor of Como is"), ("US", "The president of the US is"), ("water", "The boiling point of water is"),
        ("!!!", "The singer of !!! is"), ("C", "Who designed the language C?"), ("Van", "The mayor of Van is"),
        ("東京", "東京の知事は"), ("เชียงใหม่", "นายกเทศมนตรีเชียงใหม่คือ"), ("Microsoft", "Microsoft was founded by"),
        ("프랑스", "프랑스의 수도는"), ("ኢትዮጵያ", "የኢትዮጵያ ዋና ከተማ"), ("La Paz", "La capital de La Paz es"),
    ],
)  # fmt: skip
def test_names_that_are_also_words_are_names(name: str, text: str) -> None:
    assert why_no_name(name, text) is None


def test_the_far_texts_are_many_and_name_nobody() -> None:
    texts = [text for of in far_texts().values() for text in of]
    assert len(far_texts()) >= 30
    assert len(texts) == len({*texts}) >= 800
    assert all(text == text.strip() for text in texts)
