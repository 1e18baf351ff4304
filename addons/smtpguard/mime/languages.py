"""The built-in deny messages: for each language a text and the words that fill it.

Data alone; ``notice`` fills it. Texts are polite and say the same in every language.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """One language's text and words."""

    lead: str
    """Holds ``%(action)s``."""
    labels: tuple[str, str, str, str, str, str]
    """With their colons: reason, file name, content type, virus scan, recovery, id."""
    close: str
    strip: str
    lock: str
    quarantine: str
    no_virus: str
    recoverable: str
    lost: str
    """That the administrator has no copy."""


LANGUAGES = {
    "en": Language(
        lead="A part of this message was %(action)s by the mail gateway.",
        labels=(
            "Reason:",
            "File name:",
            "Content type:",
            "Virus scan:",
            "Recovery:",
            "Reference:",
        ),
        close="The rest of the message is as it was sent.",
        strip="removed",
        lock="locked",
        quarantine="put into quarantine",
        no_virus="nothing found or not scanned",
        recoverable="your administrator can restore it",
        lost="not possible; ask the sender to send it another way",
    ),
    "de": Language(
        lead="Ein Teil dieser Nachricht wurde vom Mail-Gateway %(action)s.",
        labels=(
            "Grund:",
            "Dateiname:",
            "Inhaltstyp:",
            "Virenprüfung:",
            "Rückgabe:",
            "Kennung:",
        ),
        close="Der Rest der Nachricht ist so, wie er gesendet wurde.",
        strip="entfernt",
        lock="gesperrt",
        quarantine="in Quarantäne genommen",
        no_virus="nichts gefunden oder nicht geprüft",
        recoverable=(
            "Ihre Administratorin oder Ihr Administrator kann ihn wiederherstellen"
        ),
        lost="nicht möglich; bitten Sie den Absender um einen anderen Weg",
    ),
    "fr": Language(
        lead=(
            "Une partie de ce message a été %(action)s par la passerelle de messagerie."
        ),
        labels=(
            "Motif :",
            "Nom du fichier :",
            "Type de contenu :",
            "Analyse antivirus :",
            "Récupération :",
            "Référence :",
        ),
        close="Le reste du message est tel qu'il a été envoyé.",
        strip="supprimée",
        lock="verrouillée",
        quarantine="mise en quarantaine",
        no_virus="rien trouvé ou pas d'analyse",
        recoverable="votre administrateur ou administratrice peut la restaurer",
        lost="impossible ; demandez à l'expéditeur de l'envoyer d'une autre façon",
    ),
    "es": Language(
        lead="Una parte de este mensaje fue %(action)s por la pasarela de correo.",
        labels=(
            "Motivo:",
            "Nombre del archivo:",
            "Tipo de contenido:",
            "Análisis antivirus:",
            "Recuperación:",
            "Referencia:",
        ),
        close="El resto del mensaje está tal como se envió.",
        strip="eliminada",
        lock="bloqueada",
        quarantine="puesta en cuarentena",
        no_virus="no se encontró nada o no se analizó",
        recoverable="su administrador o administradora puede restaurarla",
        lost="no es posible; pida al remitente que la envíe de otra forma",
    ),
    "it": Language(
        lead="Una parte di questo messaggio è stata %(action)s dal gateway di posta.",
        labels=(
            "Motivo:",
            "Nome del file:",
            "Tipo di contenuto:",
            "Controllo antivirus:",
            "Ripristino:",
            "Riferimento:",
        ),
        close="Il resto del messaggio è così come è stato inviato.",
        strip="rimossa",
        lock="bloccata",
        quarantine="messa in quarantena",
        no_virus="nulla trovato o controllo non eseguito",
        recoverable="l'amministratore o l'amministratrice può ripristinarla",
        lost="non è possibile; chieda al mittente di inviarla in un altro modo",
    ),
    "nl": Language(
        lead="Een deel van dit bericht is door de mailgateway %(action)s.",
        labels=(
            "Reden:",
            "Bestandsnaam:",
            "Inhoudstype:",
            "Viruscontrole:",
            "Herstel:",
            "Kenmerk:",
        ),
        close="De rest van het bericht is zoals het werd verzonden.",
        strip="verwijderd",
        lock="vergrendeld",
        quarantine="in quarantaine geplaatst",
        no_virus="niets gevonden of niet gecontroleerd",
        recoverable="uw beheerder kan het herstellen",
        lost="niet mogelijk; vraag de afzender om het op een andere manier te sturen",
    ),
    "pl": Language(
        lead="Część tej wiadomości została %(action)s przez bramę pocztową.",
        labels=(
            "Powód:",
            "Nazwa pliku:",
            "Typ zawartości:",
            "Skan antywirusowy:",
            "Przywrócenie:",
            "Identyfikator:",
        ),
        close="Pozostała część wiadomości jest taka, jaka została wysłana.",
        strip="usunięta",
        lock="zablokowana",
        quarantine="przeniesiona do kwarantanny",
        no_virus="nic nie znaleziono lub nie sprawdzono",
        recoverable="administrator może ją przywrócić",
        lost="niemożliwe; należy poprosić nadawcę o przesłanie w inny sposób",
    ),
    "pt": Language(
        lead="Uma parte desta mensagem foi %(action)s pelo gateway de e-mail.",
        labels=(
            "Motivo:",
            "Nome do anexo:",
            "Tipo de conteúdo:",
            "Verificação antivírus:",
            "Recuperação:",
            "Referência:",
        ),
        close="O restante da mensagem está tal como foi enviado.",
        strip="removida",
        lock="bloqueada",
        quarantine="colocada em quarentena",
        no_virus="nada encontrado ou não verificado",
        recoverable="o administrador ou a administradora pode restaurá-la",
        lost="não é possível; peça ao remetente que a envie de outra forma",
    ),
}
"""By ISO 639-1 code."""
