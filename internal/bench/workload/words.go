package workload

import "strings"

// vocabulary is what texts are made of, the commonest first. A tenth of the
// words is replaced by names and numbers, so that texts do not repeat.
var vocabulary = strings.Fields(`
the of and to in a is that for it was on are as with be by this from at or an have not had we were which
will their has been they but one all would there when who more if no out so said what up its about into
than them can only other new some could time these two may then do first any my now such like our over
me even most made after also did many before must through back years where much your way well down should
because each just those people how too little state good very make world still own see men work long get
here between both life being under never day same another know while last might us great old year off come
since against go came right used take three order delivery customer invoice payment account shipment parcel
warehouse address street price amount total discount refund credit number item article product size colour
quantity stock supplier contract offer request answer question reply letter message phone call office
branch manager clerk driver route truck pallet carton label barcode scanner printer screen table record
report page line column field value key index query result error warning notice reason cause effect repair
replace return damage broken missing late early urgent normal high low open closed pending shipped delivered
cancelled paid unpaid overdue reminder monthly weekly daily morning afternoon evening night monday tuesday
wednesday thursday friday saturday sunday january february march april june july august september october
november december spring summer autumn winter north south east west city village valley river bridge
station airport harbour market shop store factory workshop garden kitchen window door roof floor wall
cellar lamp chair cupboard drawer mirror carpet curtain pillow blanket towel basket bottle glass plate
spoon knife fork kettle stove oven fridge bread butter cheese apple pear plum cherry grape lemon orange
tomato potato onion carrot cabbage pepper salt sugar flour coffee tea milk water juice wine beer paper
pencil book notebook envelope stamp folder ribbon thread needle button fabric cotton wool linen leather
rubber plastic metal copper iron steel silver gold wood oak pine birch maple stone brick cement sand gravel
bolt screw nut washer hammer saw drill file plane wrench pliers ladder rope chain hook hinge lock engine
wheel tyre brake pedal saddle mirror mast sail anchor oar compass map guide ticket journey traveller guest
host neighbour friend doctor nurse teacher pupil baker butcher farmer miller smith mason carpenter painter
agreed arrived asked bought brought built carried changed checked chosen collected compared completed
confirmed considered corrected counted covered decided described discovered divided entered estimated
examined expected explained extended filled finished followed forgotten forwarded found given handled
improved included increased informed inspected kept learned lifted loaded lost marked measured mentioned
moved noticed offered opened ordered packed planned prepared promised provided raised reached received
recommended recorded reduced refused registered remembered removed repeated requested reserved returned
reviewed selected sent settled signed sorted stored supported taken tested transferred unloaded updated
verified weighed withdrawn written approximately carefully completely directly entirely exactly finally
generally immediately mainly nearly normally obviously partly perhaps possibly probably quickly quietly
rarely recently regularly separately slowly suddenly together usually although whether therefore however
meanwhile otherwise nevertheless instead according concerning regarding including excluding available
different difficult important necessary particular possible previous similar special suitable temporary
valuable various whole appropriate comfortable considerable convenient dangerous delicate expensive
familiar fragile frequent heavy independent international limited local modern narrow official ordinary
original permanent private professional public reliable remarkable responsible satisfactory serious
substantial sufficient technical traditional transparent unexpected unusual`)

var (
	givenNames  = strings.Fields(`Anna Maria Lena Clara Ida Emma Nora Greta Frida Elsa Marta Ines Sofia Lucia Paula Vera Olga Petra Ruth Judith Karl Hugo Emil Otto Paul Max Jakob David Simon Lukas Felix Anton Oskar Viktor Martin Peter Stefan Thomas Georg Aron`)
	familyNames = strings.Fields(`Bauer Berg Brandt Fischer Forster Gruber Haas Hofer Huber Keller Klein Koch Kraus Lang Lehner Maier Moser Novak Pichler Reiter Richter Schmid Schneider Schuster Steiner Vogel Wagner Wallner Weber Winkler Wolf Zeller Adler Binder Egger Fuchs Holzer Kaiser Lechner Winter`)
	cities      = strings.Fields(`Linz Graz Wien Salzburg Bregenz Krems Steyr Wels Villach Leoben Passau Augsburg Ulm Bamberg Jena Weimar Erfurt Gera Halle Trier Mainz Worms Speyer Koblenz Bonn Basel Bern Zug Chur Luzern`)
)

// sentence appends a sentence. Every other one is a stock phrase, as in letters
// of an office. No character in it needs escaping, neither in COPY nor in JSON.
func sentence(b []byte, r *random) []byte {
	if r.below(2) == 0 {
		return fresh(b, at(8, uint64(r.skewed(1500))))
	}
	return fresh(b, r)
}

// fresh appends a sentence of six to twenty-five words.
func fresh(b []byte, r *random) []byte {
	begin := len(b)
	for i := 6 + r.below(20); i > 0; i-- {
		switch r.below(30) {
		case 0:
			b = append(b, familyNames[r.below(len(familyNames))]...)
		case 1:
			b = number(b, r.below(100_000))
		case 2:
			b = append(b, cities[r.below(len(cities))]...)
		default:
			b = append(b, vocabulary[r.skewed(len(vocabulary))]...)
		}
		if i > 1 && r.below(12) == 0 {
			b = append(b, ',')
		}
		b = append(b, ' ')
	}
	if c := b[begin]; c >= 'a' && c <= 'z' {
		b[begin] = c - 'a' + 'A'
	}
	b[len(b)-1] = '.'
	return b
}
