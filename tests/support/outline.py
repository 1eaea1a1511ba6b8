"""What stands in a piece of HTML."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Collects the elements (tag, attributes) and the text of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(str(text))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of_class(self, name):
        return [attributes for _, attributes in self.elements if name in attributes.get("class", "").split()]
