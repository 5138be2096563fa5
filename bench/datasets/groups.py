"""The class groups that the project registers."""

from collections.abc import Mapping

from bench.datasets import class_spaces
from bench.datasets.class_groups import ClassGroups as ClassGroups
from bench.datasets.class_groups import class_groups as class_groups
from bench.datasets.spaces import IMAGENET, listed
from bench.records import ClassSpace


def _grouped(name: str, of: ClassSpace, groups: Mapping[str, str]) -> ClassGroups:
    """Groups whose members are written as numbers and ranges, `8 10-16`."""
    space = ClassSpace(name=name, classes=tuple(groups))
    record = ClassGroups(space=space, of=of, members=tuple(map(_numbers, groups.values())))
    class_groups.register(record, origin=__name__)
    return record


def _written(text: str) -> dict[str, str]:
    """Groups between commas, each a name and its members.

    >>> _written("bicycle 444 671, vase 883")
    {'bicycle': '444 671', 'vase': '883'}
    """
    return {name: members for name, _, members in (part.partition(" ") for part in listed(text))}


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between blanks, and ranges of them.

    >>> _numbers("8 10-12")
    (8, 10, 11, 12)
    """
    ends = (part.partition("-") for part in text.split())
    return tuple(number for first, _, last in ends for number in range(int(first), int(last or first) + 1))


SIXTEEN = _grouped(
    "sixteen-categories",
    IMAGENET,
    {
        "airplane": "404",
        "bear": "294-297",
        "bicycle": "444 671",
        "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
        "boat": "472 554 625 814 914",
        "bottle": "440 720 737 898-899 901 907",
        "car": "436 511 817",
        "cat": "281-286",
        "chair": "423 559 765 857",
        "clock": "409 530 892",
        "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
        "elephant": "385-386",
        "keyboard": "508 878",
        "knife": "499",
        "oven": "766",
        "truck": "555 569 656 675 717 734 864 867",
    },
)
"""207 of ImageNet's classes by entry-level category (Geirhos et al. 2018, arXiv 1808.08750)."""

OBJECTNET = _grouped(
    "objectnet-names",
    IMAGENET,
    _written(
        """
        alarm_clock 409 530, backpack 414, banana 954, band_aid 419, basket 790, beer_bottle 440, bench 703,
        bicycle 671 444, binder_closed 446, bottle_cap 455, bread_loaf 930, broom 462, bucket 463,
        butchers_knife 499, can_opener 473, candle 470, cellphone 487, chair 423 559 765, clothes_hamper 588,
        coffee_french_press 550, combination_lock 507, computer_mouse 673, desk_lamp 846, doormat 539, dress 578,
        dress_shoe_men 630, drill 740, drinking_cup 968, drying_rack_for_dishes 729, envelope 549, fan 545,
        frying_pan 567, full_sized_towel 434, hair_dryer 589, hammer 587, hand_towel_or_rag 533, helmet 560 518,
        iron_for_clothes 606, jeans 608, keyboard 508, ladle 618, lampshade 619, laptop_open 620, lemon 951,
        letter_opener 623, lighter 626, lipstick 629, match 644, measuring_cup 647, microwave 651,
        mixing_salad_bowl 659, monitor 664, mug 504, nail_fastener 677, necklace 679, orange 950, padlock 695,
        paintbrush 696, paper_towel 700, pen 418 749 563, pill_bottle 720, pillow 721, pitcher 725, plastic_bag 728,
        plate 923, plunger 731, pop_can 737, portable_heater 811, printer 742, remote_control 761, ruler 769,
        running_shoe 770, safety_pin 772, salt_shaker 773, sandal 774, screw 783, shovel 792, skirt 601 655 689,
        sleeping_bag 797, soap_dispenser 804, sock 806, soup_bowl 809, spatula 813, speaker 632,
        still_camera 732 759, strainer 828, stuffed_animal 850, suit_jacket 834, sunglasses 837, sweater 841,
        swimming_trunks 842, t-shirt 610, teapot 849, tennis_racket 752, tie 457 906, toaster 859,
        toilet_paper_roll 999, trash_bin 412, tray 868, tv 851, umbrella 879, vacuum_cleaner 882, vase 883,
        wallet 893, watch 531, water_bottle 898, weight_exercise 543, weight_scale 778, wheel 479 694, whistle 902,
        wine_bottle 907, winter_glove 658, wok 909
        """
    ),
)
"""Folders of ObjectNet that show classes of ImageNet: 113, of 125 classes (Barbu et al. 2019)."""
IMAGENET_D = _grouped(
    "imagenet-d-names",
    IMAGENET,
    _written(
        """
        alarm_clock 409 530, backpack 414, banana 954, band_aid 419, bath_towel 434, beer_bottle 440, bench 703,
        bicycle 671 444, binder_closed 446, bottle_cap 455, bread_loaf 930, broom 462, bucket 463, can_opener 473,
        candle 470, cellphone 487, chair 423 559 765, cleaver 499, clothes_hamper 588, coffee_or_french_press 550,
        combination_lock 507, computer_mouse 673, desk_lamp 846, dishcloth 533, doormat 539, dress_shoe_men 630,
        drill 740, drying_rack_for_plates 729, envelope 549, fan 545, frying_pan 567, gown 578, hair_dryer 589,
        hammer 587, helmet 560 518, iron_for_clothes 606, jeans 608, keyboard 508, ladle 618, lampshade 619,
        laptop_open 620, lemon 951, letter_opener 623, lighter 626, lipstick 629, matchstick 644, measuring_cup 647,
        microwave 651, mixing_or_salad_bowl 659, monitor 664, mug 504, nail_fastener 677, necklace 679, orange 950,
        padlock 695, paintbrush 696, paper_towel 700, pen 418 749 563, pill_bottle 720, pillow 721, pitcher 725,
        plastic_bag 728, plate 923, plunger 731, pop_can 737, portable_heater 811, printer 742, remote_control 761,
        ruler 769, running_shoe 770, safety_pin 772, salt_shaker 773, sandal 774, screw 783, shopping_basket 790,
        shovel 792, skirt 601 655 689, sleeping_bag 797, soap_dispenser 804, sock 806, soup_bowl 809, spatula 813,
        speaker 632, still_camera 732 759, strainer 828, suit_jacket 834, sunglasses 837, sweater 841,
        swimming_trunks 842, t_shirt 610, tea_cup 968, teapot 849, teddy_bear 850, tennis_racket 752, tie 457 906,
        toaster 859, toilet_paper_roll 999, trash_bin 412, tray 868, tv 851, umbrella 879, vacuum_cleaner 882,
        vase 883, wallet 893, watch 531, water_bottle 898, weight_exercise 543, weight_scale 778, wheel 479 694,
        whistle 902, wine_bottle 907, winter_glove 658, wok 909
        """
    ),
)
"""Names of ImageNet-D, of 125 classes (Zhang et al. 2024, arXiv 2403.18775)."""
class_spaces.register(
    ClassSpace(
        name="objectnet",
        classes=tuple(IMAGENET.classes[index] for index in sorted(i for group in OBJECTNET.members for i in group)),
        part_of=IMAGENET,
    ),
    origin=__name__,
)
"""The 125 classes that ObjectNet's folders show, to which logits are cut."""
