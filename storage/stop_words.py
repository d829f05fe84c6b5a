"""Words that say little of what a text is about, by language; a specification may also give its own list.

``english`` is Lucene's list, so that figures compare; the others are the articles, pronouns, prepositions and forms of
"to be" that Snowball's lists begin with.
"""

from __future__ import annotations

STOP_WORDS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "english": "a an and are as at be but by for if in into is it no not of on or such that the their then there "
        "these they this to was will with",
        "german": "aber als am an auch auf aus bei bin bis bist da das dass dem den der des die dies diese dieser du "
        "durch ein eine einem einen einer eines er es für hat hatte ich ihr im in ist ja kein mit nach nicht noch nur "
        "oder sein seine sich sie sind so über um und uns von vor war was wenn wer wie wir wird zu zum zur",
        "french": "au aux avec ce ces cette dans de des du elle en est et eux il ils je la le les leur lui ma mais me "
        "mes moi mon ne nos notre nous on ou où par pas pour qu que qui sa se ses son sont sur ta te tes toi ton tu un "
        "une vos votre vous à d l n s",
        "spanish": "a al algo como con de del desde donde el ella ellos en entre era es esta este esto ha hasta hay la "
        "las le les lo los más me mi muy no nos o para pero por que se si sin sobre son su sus también tu un una uno y "
        "ya",
        "italian": "a ad ai al alla alle anche che chi ci come con cui da dal dalla dei del della delle di dove e ed è "
        "era gli ha i il in io la le lei li lo loro lui ma mi nei nel nella no noi non o per più quella quello questa "
        "questo se si sono su sua sue sul sulla suo tra tu un una uno",
        "portuguese": "a ao aos as com como da das de do dos e é ela ele em entre era essa esse esta este eu foi há já "
        "la lhe mais mas me muito na nas não no nos o os ou para pela pelo por qual quando que se sem ser seu sua são "
        "também te tem um uma você",
        "dutch": "aan als bij dan dat de der deze die dit door een en er ge haar had heb heeft het hij hoe ik in is je "
        "kan maar me met mij mijn naar niet nog nu of om omdat onder ons ook op over te tot u uit van voor waar was "
        "wat werd wie wij wordt zal ze zich zij zijn zo",
        "russian": "а без бы был была были было быть в вам вас во вот все вы да для до его ее если есть еще же за и из "
        "или им их к как ко когда кто ли мне мы на не нет ни но о об он она они оно от по при с со так там то того "
        "только ты у уже что чтобы это этот я",
    }.items()
}
