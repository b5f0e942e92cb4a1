"""The words of the synthetic world, and which of them go together. Data only; `world.py` makes facts of it.

Always holds (tests check it): a word stands once within its class, adjectives are no nouns, every verb and every
adjective group that a kind of noun names exists. Changing anything here changes the synthetic corpus: raise
`synthetic.GENERATOR_VERSION` with it.
"""

from __future__ import annotations

WOMEN = """
Ada Agnes Alice Amelia Anna Astrid Aurora Beatrice Bella Bertha Bianca Bridget Camilla Carla Carmen Cecilia Celia
Charlotte Clara Clarissa Claudia Cora Cordelia Daphne Deborah Delia Diana Dora Doris Dorothy Edith Eleanor Elena
Elisa Ella Elsa Emily Emma Erica Esther Eva Evelyn Fanny Felicity Fiona Flora Florence Frances Freya Gemma Georgia
Gerda Gina Gloria Grace Greta Gwen Hannah Harriet Hazel Heidi Helen Henrietta Hilda Ida Imogen Ingrid Irene Irma
Isabel Ivy Jane Janet Jenny Jessica Joan Josephine Joyce Judith Julia June Karen Kate Kirsten Lara Laura Leah Lena
Leonora Lilian Linda Lisa Lois Lorna Louise Lucy Lydia Mabel Magda Margaret Maria Marian Marta Martha Matilda Maud
Mercy Mildred Millicent Mina Miranda Miriam Molly Monica Muriel Nadia Nancy Naomi Nell Nina Nora Olga Olive Olivia
Opal Pamela Patience Paula Penelope Petra Philippa Phoebe Prudence Rachel Rebecca Rhoda Rita Rosalind Rose Ruth
Sabina Sally Sarah Selma Sheila Silvia Sonia Sophie Stella Susan Sybil Tabitha Tamara Thelma Theresa Tilda Ursula
Vera Verity Victoria Viola Violet Vivian Wanda Wendy Wilma Winifred Yvonne Zelda Zoe
""".split()

MEN = """
Adam Adrian Alan Albert Alec Alfred Ambrose Andrew Angus Anton Archie Arnold Arthur Austin Barnaby Barry Basil
Benjamin Bernard Boris Brian Bruno Caleb Carl Casper Cecil Cedric Charles Christopher Clarence Claude Clement Clive
Colin Conrad Cyril Daniel David Dennis Derek Desmond Dominic Donald Douglas Duncan Edgar Edmund Edward Edwin Egbert
Elias Eric Ernest Eugene Evan Felix Fergus Floyd Francis Frank Frederick Gabriel Geoffrey George Gerald Gilbert
Godfrey Gordon Graham Gregory Gustav Guy Harold Harry Harvey Hector Henry Herbert Herman Horace Howard Hubert Hugh
Humphrey Ian Ivan Jack Jacob James Jasper Jeremy Jerome Joel John Jonas Joseph Julian Justin Keith Kenneth Kevin
Lambert Laurence Leo Leonard Leopold Leslie Lewis Lionel Luke Magnus Malcolm Marcus Mark Martin Matthew Maurice Max
Miles Mortimer Nathan Neville Nicholas Nigel Noel Norman Oliver Oscar Oswald Otto Owen Patrick Paul Percy Peter
Philip Quentin Ralph Raymond Reginald Richard Robert Roderick Roger Roland Rupert Samuel Sebastian Simon Stanley
Stephen Stuart Theodore Thomas Timothy Toby Tristan Victor Vincent Wallace Walter Wilfred William Xavier
""".split()

SURNAME_HEADS = """
Al Ash Bar Brad Bur Cal Cor Dal Dun El Fen Gar Gil Hal Har Hol Ker Lam Lin Mar Mil Nor Par Pem Ran Row Sel Stan Sut
Tal Thorn Wal Wes Whit Win Wood
""".split()
SURNAME_TAILS = "ley ton man son by den mer low ford wick".split()
TOWN_HEADS = "Ald Bex Carn Dor Elm Fal Gren Hex Ivy Kel Lyn Mor Nether Otter Pen Quar Rye Sal Tor Up Ver West".split()
TOWN_TAILS = "ton ham mouth bridge combe haven minster stead".split()

JOBS = """
actor architect baker barber blacksmith bookbinder brewer bricklayer butcher butler carpenter chemist clerk clockmaker
cobbler cook cooper courier dancer dentist doctor dressmaker driver editor engineer farmer fisherman florist forester
gardener glazier goldsmith grocer guard hatter innkeeper interpreter jeweller joiner judge juggler lawyer librarian
locksmith magician mason mechanic merchant midwife miller miner musician nurse optician organist painter pharmacist
photographer pilot plasterer plumber poet porter postman potter printer professor ranger reporter saddler sailor
scholar sculptor shepherd shopkeeper singer smith soldier surgeon surveyor tailor tanner teacher thatcher tinker
translator typist undertaker vet waiter watchman weaver welder wheelwright
""".split()

# One line a group: a word, its synonym, its opposite, the opposite's synonym. Kinds name groups by the first word.
ADJECTIVES = [
    line.split()
    for line in """
big large small little|fast quick slow sluggish|old ancient new modern|heavy weighty light feathery
clean spotless dirty filthy|wet soaked dry parched|hard firm soft squashy|rough coarse smooth polished
strong sturdy weak feeble|bright brilliant dim gloomy|loud noisy quiet silent|brave bold timid fearful
gentle kindly cruel vicious|clever smart foolish silly|pretty lovely ugly hideous|full packed empty bare
thick dense thin slender|wide broad narrow tight|long lengthy short stubby|tall lofty low squat
sharp pointed blunt rounded|sweet sugary bitter sour|fresh crisp stale rotten|cheap affordable costly expensive
safe harmless dangerous deadly|simple plain complex intricate|rare scarce common ordinary
famous celebrated unknown obscure|tame obedient wild fierce|healthy robust sick ailing|busy active lazy idle
straight upright crooked bent|whole intact broken shattered|shiny gleaming dull tarnished
open unlocked closed shut|useful handy useless worthless|real genuine fake false|tidy neat messy untidy
fat plump lean skinny|friendly welcoming hostile spiteful|calm peaceful restless nervous|ripe mature unripe raw
tasty delicious bland tasteless|fragrant perfumed smelly stinking|colourful vivid pale faded
elegant graceful clumsy awkward|fancy ornate drab dreary|flexible bendy rigid stiff|deep bottomless shallow flat
tender juicy tough chewy|popular beloved disliked unwanted|cosy comfortable cramped uncomfortable
loyal faithful treacherous sly|hairy furry bald hairless|mild subtle spicy peppery|warm heated cool chilly
tuneful melodious shrill squeaky|reliable dependable unreliable faulty|portable movable fixed immovable
""".replace("|", "\n").splitlines()
    if line
]

# Kind: its nouns | the adjective groups that fit them | what one does with them (besides COMMON_VERBS).
KINDS = {
    "animal": """dog cat horse cow goat donkey rabbit fox wolf bear otter badger hedgehog squirrel rat pony mule
    lamb pig boar camel tiger lion leopard monkey elephant beaver weasel ferret hare lizard tortoise frog toad
    snake mole | big fast old strong brave gentle clever tame healthy busy fat friendly calm loyal hairy loud
    | feed chase stroke tame follow rescue train groom wash lead frighten watch""",
    "bird": """owl hawk eagle falcon robin sparrow swallow crow raven magpie pigeon dove duck swan hen rooster
    turkey peacock parrot heron stork crane pelican gull finch thrush lark wren starling cuckoo kingfisher
    woodpecker quail pheasant partridge | big fast loud pretty tame rare clever brave healthy colourful
    tuneful calm elegant fat | feed watch hear catch count call release rescue study frighten photograph
    protect""",
    "insect": """bee wasp ant beetle butterfly moth spider cricket grasshopper dragonfly ladybird hornet
    caterpillar firefly mosquito gnat snail slug worm scorpion centipede earwig termite cockroach locust | big
    fast rare pretty loud safe colourful busy hairy heavy strong | catch study swat collect watch crush
    release photograph count examine avoid""",
    "tool": """hammer saw chisel axe spade rake hoe shovel drill wrench clamp screwdriver mallet trowel sickle
    scythe knife needle thimble crowbar pickaxe anvil ladder wheelbarrow broom mop brush ruler compass ratchet
    lathe lever pulley hatchet | heavy sharp old strong useful clean cheap shiny reliable portable big
    straight simple | use sharpen mend clean hold oil drop grip swing test polish replace""",
    "dish": """loaf pie cake biscuit sandwich omelette pancake sausage dumpling noodle pudding tart muffin bun
    pretzel waffle cheese stew soup salad pasty burger pizza curry casserole pickle cutlet steak ham kebab
    fritter scone bagel doughnut cracker | tasty fresh sweet warm mild tender cheap big simple fragrant
    popular heavy | eat taste cook slice serve share bake heat chew season cut sniff""",
    "fruit": """apple pear plum cherry peach apricot grape lemon orange lime fig melon pumpkin mango papaya
    pineapple banana coconut strawberry raspberry blackberry blueberry gooseberry cranberry currant quince
    pomegranate tangerine nectarine walnut chestnut almond hazelnut peanut | ripe sweet fresh tasty big tender
    cheap rare fragrant colourful hard healthy | pick eat peel slice taste wash weigh share squeeze dry cut
    count""",
    "vegetable": """carrot potato tomato onion turnip radish leek cabbage cauliflower lettuce cucumber bean
    beetroot parsnip marrow sprout mushroom artichoke aubergine shallot gherkin lentil yam gourd | fresh tasty
    big ripe tender cheap hard healthy clean mild fat simple | chop peel boil grow plant wash eat cook fry
    weigh slice pickle""",
    "flower": """rose tulip daisy lily violet poppy daffodil bluebell buttercup marigold orchid iris geranium pansy
    primrose snowdrop crocus dahlia carnation sunflower hyacinth foxglove thistle peony begonia lupin |
    fragrant pretty colourful rare fresh tall healthy elegant big popular | pick plant water smell paint grow
    arrange press wrap trim photograph""",
    "tree": """oak elm beech birch willow poplar pine fir cedar larch maple sycamore hawthorn holly yew alder aspen
    cypress rowan juniper laurel magnolia spruce redwood baobab acacia | tall old big healthy straight thick
    rare strong wet famous | climb plant fell prune water measure paint shake trim protect photograph""",
    "garment": """coat hat scarf glove shirt jacket skirt dress gown cloak cape boot shoe sandal slipper sock
    stocking belt waistcoat jersey cardigan sweater blouse apron vest robe bonnet helmet mitten shawl tunic
    uniform raincoat overcoat necktie | warm old elegant clean cheap pretty hard wide wet colourful fancy
    thick long | wear wash fold iron mend sew hang knit dry brush fit stitch""",
    "vehicle": """cart wagon carriage bicycle tricycle motorbike car van lorry bus tram train boat canoe ferry
    yacht barge raft ship tugboat submarine sledge scooter rocket balloon glider helicopter aeroplane tractor
    trailer caravan ambulance taxi dinghy gondola kayak | fast old big safe loud reliable cosy heavy clean
    cheap shiny full | drive steer park repair load paint stop hire wash start tow push""",
    "instrument": """violin cello viola harp guitar banjo lute piano organ flute clarinet oboe bassoon trumpet
    trombone tuba bugle drum tambourine cymbal triangle xylophone accordion harmonica fiddle mandolin ukulele
    saxophone piccolo zither gong | tuneful loud old cheap shiny heavy rare famous elegant fancy real reliable
    | play tune practise hear polish strum repair hold clean pluck break drop""",
    "furniture": """table chair stool bench sofa armchair bed cradle wardrobe cupboard dresser desk shelf bookcase
    cabinet mirror lamp carpet rug curtain cushion pillow mattress blanket bunk hammock chest drawer footstool
    sideboard lantern candlestick clock | cosy old heavy elegant wide tidy hard fancy cheap strong simple warm
    | move dust paint repair polish clean push lift cover measure scratch build""",
    "vessel": """cup mug bowl plate jug jar bottle pot pan kettle teapot saucer basin bucket barrel basket tray
    flask vase urn tankard goblet pitcher ladle cauldron tub crate sack hamper casket pail canteen decanter |
    full clean whole deep shiny heavy thick old cheap warm fancy useful | fill empty wash break dry lift drop
    shake scrub rinse cover tip""",
    "jewel": """ring necklace bracelet brooch earring crown tiara pendant locket bangle medal coin pearl diamond
    ruby emerald sapphire topaz garnet amulet sceptre chain button buckle badge | shiny cheap rare real pretty
    old fancy heavy famous elegant popular | wear polish wrap value pawn pocket clean guard drop swap""",
    "toy": """doll ball kite puzzle marble puppet hoop teddy jigsaw skittle slingshot pinwheel skateboard
    trampoline dollhouse paintbox crayon rattle swing seesaw domino whistle | old colourful cheap hard popular
    whole simple clean heavy safe big | throw break mend share pack kick swap paint catch wrap""",
    "paper": """letter book map diary newspaper magazine poster card ticket stamp envelope notebook dictionary
    atlas novel poem recipe contract receipt postcard parcel painting sketch portrait photograph calendar
    leaflet manuscript scroll certificate passport | long famous old real simple thick useful rare clean tidy
    fancy cheap | read write copy fold tear sign send burn open print unfold frame""",
    "structure": """bridge tower gate fence chimney staircase balcony fountain statue windmill lighthouse tunnel
    archway porch roof terrace pavilion wall pillar doorway aqueduct dam | tall old strong famous wide fancy
    straight safe pretty cheap long | build paint repair cross measure climb clean guard visit photograph""",
    "machine": """engine pump motor generator telescope microscope camera radio telephone typewriter computer
    printer projector calculator thermometer barometer loom furnace boiler turbine robot compressor treadmill
    microphone loudspeaker television freezer oven toaster blender | reliable old loud heavy cheap simple
    useful fast portable warm safe clean | repair start stop test clean oil crank move assemble heat unplug
    adjust""",
}

COMMON_VERBS = """
buy sell find lose borrow steal hide carry keep want admire draw notice describe bring fetch choose inspect mention
label trade offer reserve acquire sketch seize deliver reject praise
""".split()
IRREGULAR_PASTS = dict(
    pair.split(":")
    for pair in """
    buy:bought sell:sold find:found lose:lost steal:stole hide:hid keep:kept draw:drew bring:brought choose:chose
    feed:fed lead:led hear:heard catch:caught hold:held swing:swung eat:ate cut:cut grow:grew wear:wore hang:hung
    drive:drove break:broke build:built shake:shook throw:threw read:read write:wrote tear:tore send:sent sing:sang
    weep:wept run:ran swim:swam sleep:slept sit:sat stand:stood ride:rode kneel:knelt
    """.split()
)
CONSONANT_SOUND = "useful useless uniform ukulele".split()
DOUBLING_VERBS = """
chop trim grip drop stop wrap tip swat strum scrub unplug hum sob skip jog nod clap fret grin swap knit fit cut run
swim sit
""".split()
IRREGULAR_PLURALS = dict(
    pair.split(":")
    for pair in """
    wolf:wolves knife:knives loaf:loaves scarf:scarves shelf:shelves potato:potatoes tomato:tomatoes mango:mangoes
    mosquito:mosquitoes domino:dominoes topaz:topazes
    """.split()
)

MOVES = """
walk run hurry wander march jog skip stroll climb swim ride turn wait rest sit stand sleep work return arrive kneel
listen nod pause stretch crawl limp jump
""".split()
GOOD_DEEDS = (
    "smile laugh sing dance cheer whistle grin clap hum rejoice celebrate relax chuckle joke beam giggle".split()
)
BAD_DEEDS = (
    "sigh weep sob frown groan complain shiver tremble mourn worry moan despair scowl fret sulk whimper".split()
)
GOOD_MANNERS = """
happily gladly merrily proudly warmly cheerfully brightly eagerly gracefully joyfully kindly calmly fondly hopefully
gently lovingly playfully politely boldly softly cleverly gratefully
""".split()
BAD_MANNERS = """
sadly angrily bitterly gloomily wearily nervously harshly coldly grimly miserably rudely anxiously fearfully crossly
jealously painfully clumsily carelessly desperately sulkily tearfully stubbornly
""".split()
PLAIN_MANNERS = """
quickly slowly quietly loudly suddenly carefully silently briskly often rarely early late twice again alone together
upstairs outside indoors abroad nearby
""".split()
GOOD_MOODS = """
happy joyful wonderful pleasant cheerful merry glorious delightful lucky sunny splendid marvellous festive blissful
fine lovely perfect charming magical hopeful jolly triumphant peaceful golden superb
""".split()
BAD_MOODS = """
sad miserable dreadful terrible gloomy awful dismal tragic horrible unlucky bleak wretched painful rotten bitter sorry
lonely grim dreary nasty stressful mournful hopeless tiresome disastrous
""".split()
# Each word stands beside its synonym: the first two, the next two, and so on.
GOOD_WORDS = (
    "good excellent enjoyable pleasing satisfying worthwhile brilliant fantastic agreeable pleasurable".split()
)
BAD_WORDS = "bad poor disappointing frustrating annoying upsetting boring tedious regrettable unfortunate".split()

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = "winter spring summer autumn".split()
# One line a season of three months, beginning with December.
WEATHER = [
    "snowy frosty icy foggy stormy cloudy windy grey".split(),
    "rainy breezy showery misty mild cloudy windy clear".split(),
    "hot sunny dry sultry thundery clear humid blazing".split(),
    "rainy foggy windy drizzly damp misty cool stormy".split(),
]
TIMES = """
then later soon afterwards meanwhile suddenly next once finally today again yesterday eventually presently
immediately sometimes occasionally recently usually formerly still nevertheless moreover besides
""".split()
NUMBERS = [str(number) for number in range(2, 100)]
DAYS = [str(day) for day in range(1, 29)]
CLOCK = [f"{hour}:{minute:02}" for hour in range(1, 13) for minute in range(0, 60, 5)]
YEARS = [str(year) for year in range(1780, 1920)]
COLOURS = (
    "red blue green yellow brown black white grey purple pink silver golden crimson scarlet turquoise beige".split()
)
BURNING_MATERIALS = "wood wool silk leather cotton straw wax paper".split()
FIREPROOF_MATERIALS = "iron clay glass copper brass marble stone steel".split()

# Theme: the kinds of things found there | its places, with their prepositions.
THEMES = [
    "furniture vessel dish garment paper | in:kitchen in:pantry in:parlour in:bedroom in:nursery in:study in:hall",
    "animal bird insect tree flower | in:forest in:meadow on:hill by:river in:valley on:moor in:marsh by:lake",
    "fruit vegetable dish vessel jewel | at:market in:bakery at:fair in:tavern in:shop at:inn on:square at:harvest",
    "tool machine vehicle structure furniture | in:workshop in:factory at:forge in:garage in:shed at:quarry at:mill",
    "vehicle structure garment animal machine | at:station in:harbour on:road on:quay at:airport on:platform on:pier",
    "instrument paper jewel garment toy | in:theatre in:museum in:library in:school at:concert in:gallery in:palace",
    "vegetable flower fruit tool insect | in:garden in:orchard in:greenhouse on:farm in:vineyard in:barn in:field",
    "toy dish bird structure instrument | in:park on:beach at:circus in:playground on:island in:castle at:festival",
]
