"""What data of one's own may hold: reading adds less than 1 GB of memory, whatever it is given."""

MAX_FILES = 65_000  # of any kind in a folder or zip
MAX_IMAGES = 100_000  # in the arrays of an .npz or .npy
MAX_ARCHIVE_BYTES = 2_000_000_000  # a .zip, .npz or .npy as it lies there
MAX_UNPACKED_BYTES = 4_000_000_000  # what it says that it holds
MAX_DIRECTORY_BYTES = 20_000_000  # the table of contents of a zip
MAX_PICTURE_BYTES = 50_000_000  # the file of one picture
MAX_PIXELS = 20_000_000  # one picture
MAX_TOTAL_PIXELS = 10_000_000_000  # all of them
MAX_CSV_BYTES = 20_000_000
MAX_CLASSES = 300  # each is a trace and an entry of a legend; more are shown without labels
MAX_LABEL = 60  # letters of a label
MAX_SIDE = 256  # of the images that are made
MAX_KEPT_BYTES = 200_000_000  # the images that are made
MIN_IMAGES = 10  # with fewer, one in five makes no held-out set
MAX_LISTED = 50  # bad files that are listed by name
