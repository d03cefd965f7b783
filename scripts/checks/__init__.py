"""What Dify would refuse in the package, each as a sentence that ends with who refuses it."""

#: Who refuses, as the end of a sentence.
INSTALLATION = "[Dify's daemon, when it is installed]"
PACKAGER = "[Dify's packager]"
START = "[Dify's SDK, when it starts]"
CALL = "[Dify, when it is called]"
MARKETPLACE = "[Dify's marketplace]"
PROJECT = "[a rule of this project]"
