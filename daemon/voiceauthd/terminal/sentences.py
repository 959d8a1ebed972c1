"""Sentences to read aloud at an enrolment, in the user's language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DEFAULT = "en"
"""For a language that has no sentences here."""

SENTENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            "The quiet river bends twice before it goes under the old stone bridge.",
            "Please measure five yellow jugs of water, and then hand me the thick green book.",
            "Every Thursday my neighbour bakes fresh ginger bread for the whole street.",
            "A cold wind blew through the valley, but nobody thought of going home.",
            "Tell me which of these four paths leads up to the lighthouse.",
            "She found a bright blue feather under the chair, and put it into her pocket.",
            "How far is it from the market square to the railway yard?",
        ),
        "de": (
            "Der stille Fluss macht zwei Bögen, bevor er unter der alten Brücke verschwindet.",
            "Bitte miss fünf gelbe Krüge Wasser ab, und gib mir dann das dicke grüne Buch.",
            "Jeden Donnerstag backt meine Nachbarin frisches Brot für die ganze Straße.",
            "Ein kalter Wind wehte durch das Tal, aber niemand wollte nach Hause gehen.",
            "Sag mir bitte, welcher von diesen vier Wegen zum Leuchtturm führt.",
            "Sie fand eine hellblaue Feder unter dem Stuhl und steckte sie in die Tasche.",
            "Wie weit ist es zu Fuß vom Marktplatz bis zum Bahnhof?",
        ),
        "es": (
            "El río tranquilo da dos vueltas antes de pasar bajo el viejo puente de piedra.",
            "Llena cinco jarras de agua y después pásame el libro verde, por favor.",
            "Todos los jueves mi vecina hace pan fresco para toda la calle.",
            "Un viento frío soplaba en el valle, pero nadie quería volver a casa.",
            "Dime cuál de estos cuatro caminos lleva hasta el faro.",
            "Ella encontró una pluma azul debajo de la silla y la guardó en el bolsillo.",
            "¿Cuánto se tarda en ir de la plaza del mercado a la estación?",
        ),
        "fr": (
            "La rivière fait deux détours avant de passer sous le vieux pont de pierre.",
            "Mesurez cinq cruches d'eau, puis donnez-moi le gros livre vert.",
            "Chaque jeudi, ma voisine fait du pain frais pour toute la rue.",
            "Un vent froid soufflait dans la vallée, mais personne ne voulait rentrer.",
            "Dites-moi lequel de ces quatre chemins mène au phare.",
            "Elle a trouvé une plume bleue sous la chaise et l'a mise dans sa poche.",
            "Combien de temps faut-il pour aller du marché à la gare ?",
        ),
        "it": (
            "Il fiume tranquillo fa due curve prima di passare sotto il vecchio ponte di pietra.",
            "Riempi cinque brocche d'acqua e poi dammi quel grosso libro verde.",
            "Ogni giovedì la mia vicina prepara il pane fresco per tutta la strada.",
            "Un vento freddo soffiava nella valle, ma nessuno voleva tornare a casa.",
            "Dimmi quale di questi quattro sentieri porta al faro.",
            "Ha trovato una piuma azzurra sotto la sedia e l'ha messa in tasca.",
            "Quanto ci vuole per andare dalla piazza del mercato alla stazione?",
        ),
        "ja": (
            "静かな川は二度曲がってから、古い石の橋の下を流れていきます。",
            "水差し五つに水を入れて、それからあの厚い緑の本を取ってください。",
            "毎週木曜日になると、隣の人が町のみんなのために新しいパンを焼きます。",
            "谷には冷たい風が吹いていましたが、誰も家に帰ろうとしませんでした。",
            "この四つの道のうち、どれが灯台に続いているのか教えてください。",
            "彼女は椅子の下で青い羽根を見つけて、ポケットに入れました。",
            "市場から駅まで歩いて、どのくらいかかりますか。",
        ),
        "nl": (
            "De stille rivier maakt twee bochten voor ze onder de oude brug door stroomt.",
            "Vul vijf kannen met water en geef me daarna het dikke groene boek.",
            "Elke donderdag bakt mijn buurvrouw vers brood voor de hele straat.",
            "Er waaide een koude wind door het dal, maar niemand wilde naar huis gaan.",
            "Vertel me welke van deze vier wegen naar de vuurtoren leidt.",
            "Ze vond een blauwe veer onder de stoel en stopte hem in haar zak.",
            "Hoe ver is het van het marktplein naar het station?",
        ),
        "pl": (
            "Spokojna rzeka dwa razy skręca, zanim przepłynie pod starym kamiennym mostem.",
            "Napełnij pięć dzbanków wodą, a potem podaj mi tę grubą zieloną książkę.",
            "W każdy czwartek moja sąsiadka piecze świeży chleb dla całej ulicy.",
            "Przez dolinę wiał zimny wiatr, ale nikt nie chciał wracać do domu.",
            "Powiedz mi, która z tych czterech dróg prowadzi do latarni morskiej.",
            "Znalazła pod krzesłem niebieskie pióro i schowała je do kieszeni.",
            "Jak daleko jest z rynku do dworca kolejowego?",
        ),
        "pt": (
            "O rio calmo faz duas curvas antes de passar por baixo da velha ponte de pedra.",
            "Encha cinco jarros de água e, depois, dê-me o livro verde, por favor.",
            "Todas as quintas-feiras, a minha vizinha faz pão fresco para a rua inteira.",
            "Um vento frio soprava no vale, mas ninguém queria voltar para casa.",
            "Diga-me qual destes quatro caminhos leva ao farol.",
            "Ela achou uma pena azul debaixo da cadeira e guardou-a no bolso.",
            "Quanto tempo leva para ir da praça do mercado à estação?",
        ),
        "ru": (
            "Тихая река дважды поворачивает, прежде чем пройти под старым каменным мостом.",
            "Налей, пожалуйста, пять кувшинов воды, а потом дай мне толстую зелёную книгу.",
            "Каждый четверг моя соседка печёт свежий хлеб для всей улицы.",
            "В долине дул холодный ветер, но никто не хотел идти домой.",
            "Скажи мне, какая из этих четырёх дорог ведёт к маяку.",
            "Она нашла под стулом голубое перо и положила его в карман.",
            "Далеко ли от рыночной площади до железнодорожного вокзала?",
        ),
        "tr": (
            "Sakin nehir, eski taş köprünün altından geçmeden önce iki kez kıvrılır.",
            "Lütfen beş sürahiye su doldur, sonra bana şu kalın yeşil kitabı ver.",
            "Komşum her perşembe bütün sokak için taze ekmek yapar.",
            "Vadide soğuk bir rüzgâr esiyordu, ama kimse eve dönmek istemiyordu.",
            "Söyler misin, bu dört yoldan hangisi deniz fenerine gider?",
            "Sandalyenin altında mavi bir tüy buldu ve onu cebine koydu.",
            "Pazar yerinden tren istasyonuna kadar ne kadar yürümek gerekir?",
        ),
        "zh": (
            "安静的小河拐了两个弯，然后从古老的石桥下面流过。",
            "请先倒五壶水，再把那本厚厚的绿皮书递给我。",
            "每个星期四，我的邻居都给整条街的人烤新鲜的面包。",
            "山谷里吹着冷风，可是谁也不想回家。",
            "请告诉我，这四条路里哪一条通到海边的灯塔。",
            "她在椅子下面发现了一根蓝色的羽毛，就把它放进了口袋。",
            "从市场走到火车站大概需要多长时间？",
        ),
    }
)
"""By language (ISO 639-1). Each takes about four seconds to read aloud, and together they contain the common sounds."""


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language of the user's messages, if there are sentences in it, else `DEFAULT`: from LC_ALL,
    LC_MESSAGES or LANG, whichever is set first, such as "de_AT.UTF-8"."""
    locale = next((value for key in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(key))), "")
    language = locale.replace(".", "_").replace("@", "_").partition("_")[0].lower()
    return language if language in SENTENCES else DEFAULT


def sentences_to_read(language: str, encoding: str | None) -> tuple[str, ...]:
    """Return the sentences of a language; those of `DEFAULT` if `encoding`, the terminal's, cannot show them."""
    try:
        "".join(SENTENCES[language]).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return SENTENCES[DEFAULT]
    return SENTENCES[language]
