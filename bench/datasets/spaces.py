"""The class spaces that the project registers: ImageNet's, its 200-class parts, CIFAR's, and those to transfer to."""

import importlib.util
from pathlib import Path
from string import ascii_uppercase

from bench.datasets import class_spaces
from bench.records import ClassSpace


def timm_info(name: str) -> Path:
    """A file of timm's class lists (`timm/data/_info`), found without importing timm."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ImportError("timm is not installed: pip install timm")
    return Path(spec.origin).parent / "data" / "_info" / name


def _wnids(name: str) -> tuple[str, ...]:
    return tuple(timm_info(name).read_text(encoding="utf-8").split())


def listed(text: str) -> tuple[str, ...]:
    """The names between the commas of a text, whatever its lines."""
    return tuple(name.strip() for name in text.split(","))


DIGITS = ClassSpace(name="digits", classes=tuple("0123456789"))
LETTERS = ClassSpace(name="letters", classes=tuple(ascii_uppercase))
IMAGENET = ClassSpace(name="imagenet-1k", classes=_wnids("imagenet_synsets.txt"))
IMAGENET_R = ClassSpace(name="imagenet-r", classes=_wnids("imagenet_r_synsets.txt"), part_of=IMAGENET)
"""Hendrycks et al. 2021, arXiv 2006.16241."""
IMAGENET_A = ClassSpace(name="imagenet-a", classes=_wnids("imagenet_a_synsets.txt"), part_of=IMAGENET)
"""Hendrycks et al. 2021, arXiv 1907.07174."""
CIFAR10 = ClassSpace(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
"""In the order of `batches.meta` (Krizhevsky 2009)."""
CIFAR100 = ClassSpace(
    name="cifar100",
    classes=tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905 - a list of quoted words would hide the order
    ),
)
"""The fine labels, in the order of `meta` (Krizhevsky 2009)."""

FLOWERS102 = ClassSpace(
    name="flowers102",
    classes=listed(
        """
        pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily,
        moon orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea,
        spear thistle, yellow iris, globe-flower, purple coneflower, peruvian lily, balloon flower,
        giant white arum lily, fire lily, pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy,
        prince of wales feathers, stemless gentian, artichoke, sweet william, carnation, garden phlox,
        love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, cape flower, great masterwort,
        siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep blue, wallflower,
        marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower,
        pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia?, cautleya spicata,
        japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus,
        bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory,
        passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose,
        tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove,
        bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper,
        blackberry lily
        """
    ),
)
"""In the order of the numbers in `imagelabels.mat`; names as torchvision gives them (Nilsback & Zisserman 2008)."""
PETS = ClassSpace(
    name="pets",
    classes=listed(
        """
        abyssinian, american_bulldog, american_pit_bull_terrier, basset_hound, beagle, bengal, birman, bombay,
        boxer, british_shorthair, chihuahua, egyptian_mau, english_cocker_spaniel, english_setter,
        german_shorthaired, great_pyrenees, havanese, japanese_chin, keeshond, leonberger, maine_coon,
        miniature_pinscher, newfoundland, persian, pomeranian, pug, ragdoll, russian_blue, saint_bernard,
        samoyed, scottish_terrier, shiba_inu, siamese, sphynx, staffordshire_bull_terrier, wheaten_terrier,
        yorkshire_terrier
        """
    ),
)
"""In the order of the numbers in `annotations/trainval.txt` (Parkhi et al. 2012), without its capitals."""
CARS = ClassSpace(
    name="cars",
    classes=listed(
        """
        AM General Hummer SUV 2000, Acura RL Sedan 2012, Acura TL Sedan 2012, Acura TL Type-S 2008,
        Acura TSX Sedan 2012, Acura Integra Type R 2001, Acura ZDX Hatchback 2012,
        Aston Martin V8 Vantage Convertible 2012, Aston Martin V8 Vantage Coupe 2012,
        Aston Martin Virage Convertible 2012, Aston Martin Virage Coupe 2012, Audi RS 4 Convertible 2008,
        Audi A5 Coupe 2012, Audi TTS Coupe 2012, Audi R8 Coupe 2012, Audi V8 Sedan 1994, Audi 100 Sedan 1994,
        Audi 100 Wagon 1994, Audi TT Hatchback 2011, Audi S6 Sedan 2011, Audi S5 Convertible 2012,
        Audi S5 Coupe 2012, Audi S4 Sedan 2012, Audi S4 Sedan 2007, Audi TT RS Coupe 2012,
        BMW ActiveHybrid 5 Sedan 2012, BMW 1 Series Convertible 2012, BMW 1 Series Coupe 2012,
        BMW 3 Series Sedan 2012, BMW 3 Series Wagon 2012, BMW 6 Series Convertible 2007, BMW X5 SUV 2007,
        BMW X6 SUV 2012, BMW M3 Coupe 2012, BMW M5 Sedan 2010, BMW M6 Convertible 2010, BMW X3 SUV 2012,
        BMW Z4 Convertible 2012, Bentley Continental Supersports Conv. Convertible 2012,
        Bentley Arnage Sedan 2009, Bentley Mulsanne Sedan 2011, Bentley Continental GT Coupe 2012,
        Bentley Continental GT Coupe 2007, Bentley Continental Flying Spur Sedan 2007,
        Bugatti Veyron 16.4 Convertible 2009, Bugatti Veyron 16.4 Coupe 2009, Buick Regal GS 2012,
        Buick Rainier SUV 2007, Buick Verano Sedan 2012, Buick Enclave SUV 2012, Cadillac CTS-V Sedan 2012,
        Cadillac SRX SUV 2012, Cadillac Escalade EXT Crew Cab 2007,
        Chevrolet Silverado 1500 Hybrid Crew Cab 2012, Chevrolet Corvette Convertible 2012,
        Chevrolet Corvette ZR1 2012, Chevrolet Corvette Ron Fellows Edition Z06 2007,
        Chevrolet Traverse SUV 2012, Chevrolet Camaro Convertible 2012, Chevrolet HHR SS 2010,
        Chevrolet Impala Sedan 2007, Chevrolet Tahoe Hybrid SUV 2012, Chevrolet Sonic Sedan 2012,
        Chevrolet Express Cargo Van 2007, Chevrolet Avalanche Crew Cab 2012, Chevrolet Cobalt SS 2010,
        Chevrolet Malibu Hybrid Sedan 2010, Chevrolet TrailBlazer SS 2009,
        Chevrolet Silverado 2500HD Regular Cab 2012, Chevrolet Silverado 1500 Classic Extended Cab 2007,
        Chevrolet Express Van 2007, Chevrolet Monte Carlo Coupe 2007, Chevrolet Malibu Sedan 2007,
        Chevrolet Silverado 1500 Extended Cab 2012, Chevrolet Silverado 1500 Regular Cab 2012,
        Chrysler Aspen SUV 2009, Chrysler Sebring Convertible 2010, Chrysler Town and Country Minivan 2012,
        Chrysler 300 SRT-8 2010, Chrysler Crossfire Convertible 2008, Chrysler PT Cruiser Convertible 2008,
        Daewoo Nubira Wagon 2002, Dodge Caliber Wagon 2012, Dodge Caliber Wagon 2007,
        Dodge Caravan Minivan 1997, Dodge Ram Pickup 3500 Crew Cab 2010, Dodge Ram Pickup 3500 Quad Cab 2009,
        Dodge Sprinter Cargo Van 2009, Dodge Journey SUV 2012, Dodge Dakota Crew Cab 2010,
        Dodge Dakota Club Cab 2007, Dodge Magnum Wagon 2008, Dodge Challenger SRT8 2011, Dodge Durango SUV 2012,
        Dodge Durango SUV 2007, Dodge Charger Sedan 2012, Dodge Charger SRT-8 2009, Eagle Talon Hatchback 1998,
        FIAT 500 Abarth 2012, FIAT 500 Convertible 2012, Ferrari FF Coupe 2012,
        Ferrari California Convertible 2012, Ferrari 458 Italia Convertible 2012, Ferrari 458 Italia Coupe 2012,
        Fisker Karma Sedan 2012, Ford F-450 Super Duty Crew Cab 2012, Ford Mustang Convertible 2007,
        Ford Freestar Minivan 2007, Ford Expedition EL SUV 2009, Ford Edge SUV 2012, Ford Ranger SuperCab 2011,
        Ford GT Coupe 2006, Ford F-150 Regular Cab 2012, Ford F-150 Regular Cab 2007, Ford Focus Sedan 2007,
        Ford E-Series Wagon Van 2012, Ford Fiesta Sedan 2012, GMC Terrain SUV 2012, GMC Savana Van 2012,
        GMC Yukon Hybrid SUV 2012, GMC Acadia SUV 2012, GMC Canyon Extended Cab 2012,
        Geo Metro Convertible 1993, HUMMER H3T Crew Cab 2010, HUMMER H2 SUT Crew Cab 2009,
        Honda Odyssey Minivan 2012, Honda Odyssey Minivan 2007, Honda Accord Coupe 2012,
        Honda Accord Sedan 2012, Hyundai Veloster Hatchback 2012, Hyundai Santa Fe SUV 2012,
        Hyundai Tucson SUV 2012, Hyundai Veracruz SUV 2012, Hyundai Sonata Hybrid Sedan 2012,
        Hyundai Elantra Sedan 2007, Hyundai Accent Sedan 2012, Hyundai Genesis Sedan 2012,
        Hyundai Sonata Sedan 2012, Hyundai Elantra Touring Hatchback 2012, Hyundai Azera Sedan 2012,
        Infiniti G Coupe IPL 2012, Infiniti QX56 SUV 2011, Isuzu Ascender SUV 2008, Jaguar XK XKR 2012,
        Jeep Patriot SUV 2012, Jeep Wrangler SUV 2012, Jeep Liberty SUV 2012, Jeep Grand Cherokee SUV 2012,
        Jeep Compass SUV 2012, Lamborghini Reventon Coupe 2008, Lamborghini Aventador Coupe 2012,
        Lamborghini Gallardo LP 570-4 Superleggera 2012, Lamborghini Diablo Coupe 2001,
        Land Rover Range Rover SUV 2012, Land Rover LR2 SUV 2012, Lincoln Town Car Sedan 2011,
        MINI Cooper Roadster Convertible 2012, Maybach Landaulet Convertible 2012, Mazda Tribute SUV 2011,
        McLaren MP4-12C Coupe 2012, Mercedes-Benz 300-Class Convertible 1993, Mercedes-Benz C-Class Sedan 2012,
        Mercedes-Benz SL-Class Coupe 2009, Mercedes-Benz E-Class Sedan 2012, Mercedes-Benz S-Class Sedan 2012,
        Mercedes-Benz Sprinter Van 2012, Mitsubishi Lancer Sedan 2012, Nissan Leaf Hatchback 2012,
        Nissan NV Passenger Van 2012, Nissan Juke Hatchback 2012, Nissan 240SX Coupe 1998,
        Plymouth Neon Coupe 1999, Porsche Panamera Sedan 2012, Ram C/V Cargo Van Minivan 2012,
        Rolls-Royce Phantom Drophead Coupe Convertible 2012, Rolls-Royce Ghost Sedan 2012,
        Rolls-Royce Phantom Sedan 2012, Scion xD Hatchback 2012, Spyker C8 Convertible 2009,
        Spyker C8 Coupe 2009, Suzuki Aerio Sedan 2007, Suzuki Kizashi Sedan 2012, Suzuki SX4 Hatchback 2012,
        Suzuki SX4 Sedan 2012, Tesla Model S Sedan 2012, Toyota Sequoia SUV 2012, Toyota Camry Sedan 2012,
        Toyota Corolla Sedan 2012, Toyota 4Runner SUV 2012, Volkswagen Golf Hatchback 2012,
        Volkswagen Golf Hatchback 1991, Volkswagen Beetle Hatchback 2012, Volvo C30 Hatchback 2012,
        Volvo 240 Sedan 1993, Volvo XC90 SUV 2007, smart fortwo Convertible 2012
        """
    ),
)
"""In the order of `cars_meta.mat` (Krause et al. 2013)."""
DTD = ClassSpace(
    name="dtd",
    classes=listed(
        """
        banded, blotchy, braided, bubbly, bumpy, chequered, cobwebbed, cracked, crosshatched, crystalline,
        dotted, fibrous, flecked, freckled, frilly, gauzy, grid, grooved, honeycombed, interlaced, knitted,
        lacelike, lined, marbled, matted, meshed, paisley, perforated, pitted, pleated, polka-dotted, porous,
        potholed, scaly, smeared, spiralled, sprinkled, stained, stratified, striped, studded, swirly, veined,
        waffled, woven, wrinkled, zigzagged
        """
    ),
)
"""Its folders (Cimpoi et al. 2014, arXiv 1311.3618)."""
FOOD101 = ClassSpace(
    name="food101",
    classes=listed(
        """
        apple_pie, baby_back_ribs, baklava, beef_carpaccio, beef_tartare, beet_salad, beignets, bibimbap,
        bread_pudding, breakfast_burrito, bruschetta, caesar_salad, cannoli, caprese_salad, carrot_cake,
        ceviche, cheese_plate, cheesecake, chicken_curry, chicken_quesadilla, chicken_wings, chocolate_cake,
        chocolate_mousse, churros, clam_chowder, club_sandwich, crab_cakes, creme_brulee, croque_madame,
        cup_cakes, deviled_eggs, donuts, dumplings, edamame, eggs_benedict, escargots, falafel, filet_mignon,
        fish_and_chips, foie_gras, french_fries, french_onion_soup, french_toast, fried_calamari, fried_rice,
        frozen_yogurt, garlic_bread, gnocchi, greek_salad, grilled_cheese_sandwich, grilled_salmon, guacamole,
        gyoza, hamburger, hot_and_sour_soup, hot_dog, huevos_rancheros, hummus, ice_cream, lasagna,
        lobster_bisque, lobster_roll_sandwich, macaroni_and_cheese, macarons, miso_soup, mussels, nachos,
        omelette, onion_rings, oysters, pad_thai, paella, pancakes, panna_cotta, peking_duck, pho, pizza,
        pork_chop, poutine, prime_rib, pulled_pork_sandwich, ramen, ravioli, red_velvet_cake, risotto, samosa,
        sashimi, scallops, seaweed_salad, shrimp_and_grits, spaghetti_bolognese, spaghetti_carbonara,
        spring_rolls, steak, strawberry_shortcake, sushi, tacos, takoyaki, tiramisu, tuna_tartare, waffles
        """
    ),
)
"""Its folders (Bossard et al. 2014)."""
INAT18 = ClassSpace(name="inat18", classes=tuple(map(str, range(8_142))))
"""The category ids of `train2018.json` (Van Horn et al. 2018, arXiv 1707.06642)."""
INAT19 = ClassSpace(name="inat19", classes=tuple(map(str, range(1_010))))
"""The category ids of `train2019.json`."""

for space in (
    DIGITS,
    LETTERS,
    IMAGENET,
    IMAGENET_R,
    IMAGENET_A,
    CIFAR10,
    CIFAR100,
    FLOWERS102,
    PETS,
    CARS,
    DTD,
    FOOD101,
    INAT18,
    INAT19,
):
    class_spaces.register(space, origin=__name__)
